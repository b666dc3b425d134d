/// Unicode's categories as the tables inside Hugging Face's `tokenizers` have them, which are older than those of this
/// program: a character that came later has none there, and must have none here for equal ids.
enum OlderCategories {
    /// The Unicode version of its crate `unicode_categories`.
    private static let categoriesVersion = 8
    /// The Unicode version of its crate `unicode-normalization-alignments`.
    private static let marksVersion = 9
    /// What was punctuation in those tables and is not today.
    private static let formerPunctuation: [UInt32] = [0x166D, 0x111C9]
    /// What has become a nonspacing mark since, and what was one.
    private static let newNonspacingMarks: [UInt32] = [0x1885, 0x1886, 0xA9BD, 0x111C9]
    private static let formerNonspacingMarks: [UInt32] = [0x1734, 0x1171E]
    /// What has become a mark since, and what was one.
    private static let newMark: UInt32 = 0x111C9
    private static let formerMarks: [UInt32] = [0x1CF2, 0x1CF3]

    /// ASCII's punctuation and symbols, and Unicode's punctuation.
    static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // ASCII's symbols count too.
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: return true
        case ..<0x80: return false
        default: break
        }
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return isKnown(scalar, in: categoriesVersion)
        default:
            return formerPunctuation.contains(scalar.value)
        }
    }

    /// Control and format characters, and those for private use.
    static func isOther(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .privateUse: isKnown(scalar, in: categoriesVersion)
        default: false
        }
    }

    /// Marks that take no place of their own.
    static func isNonspacingMark(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.properties.generalCategory == .nonspacingMark else {
            return formerNonspacingMarks.contains(scalar.value)
        }
        return isKnown(scalar, in: categoriesVersion) && !newNonspacingMarks.contains(scalar.value)
    }

    /// Marks of all kinds.
    static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark:
            isKnown(scalar, in: marksVersion) && scalar.value != newMark
        default: formerMarks.contains(scalar.value)
        }
    }

    private static func isKnown(_ scalar: Unicode.Scalar, in version: Int) -> Bool {
        (scalar.properties.age?.major ?? .max) <= version
    }
}
