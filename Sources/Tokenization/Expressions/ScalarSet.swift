/// The characters that one place of an expression matches.
struct ScalarSet: Sendable, Equatable {
    /// A part of a set.
    enum Item: Sendable, Equatable {
        case range(UInt32, UInt32)
        /// General categories, a bit each (see `ScalarSet.bit(of:)`).
        case categories(UInt32)
        case whiteSpace
        /// `\w` of Unicode's regular expressions (UTS 18, annex C).
        case word
        indirect case set(ScalarSet)
    }

    /// The Unicode version of the expression engine in Hugging Face's `tokenizers` (Oniguruma 6.9.10). What later
    /// versions added has no category there, and must have none here for equal ids.
    private static let unicodeVersion = 16

    private var items: [Item] = []
    private var isNegated = false
    /// Which ASCII characters are in the set, a bit each.
    private var ascii: (low: UInt64, high: UInt64) = (0, 0)

    /// The set of what is in any of `items`, or in none of them.
    init(_ items: [Item], isNegated: Bool = false) {
        self.items = items
        self.isNegated = isNegated
        for value in UInt32(0)..<128 where isIn(Unicode.Scalar(value)!) {
            if value < 64 { ascii.low |= 1 << UInt64(value) } else { ascii.high |= 1 << UInt64(value - 64) }
        }
    }

    static func == (left: ScalarSet, right: ScalarSet) -> Bool {
        left.items == right.items && left.isNegated == right.isNegated
    }

    /// The set of all else.
    var inverted: ScalarSet { ScalarSet(items, isNegated: !isNegated) }

    /// Whether the character at `index` of valid UTF-8 is in the set, and its length in bytes.
    @inline(__always)
    func read(_ bytes: [UInt8], at index: Int) -> (isIn: Bool, length: Int) {
        let byte = bytes[index]
        if byte < 0x80 {
            let half = byte < 64 ? ascii.low : ascii.high
            return (half >> UInt64(byte & 63) & 1 == 1, 1)
        }
        let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
        return (isIn(scalar), length)
    }

    private func isIn(_ scalar: Unicode.Scalar) -> Bool {
        items.contains { Self.isIn(scalar, $0) } != isNegated
    }

    private static func isIn(_ scalar: Unicode.Scalar, _ item: Item) -> Bool {
        switch item {
        case .range(let first, let last): return first <= scalar.value && scalar.value <= last
        case .categories(let bits):
            let isKnown = (scalar.properties.age?.major ?? .max) <= unicodeVersion
            return bits & bit(of: isKnown ? scalar.properties.generalCategory : .unassigned) != 0
        case .whiteSpace: return scalar.properties.isWhitespace
        case .word:
            guard (scalar.properties.age?.major ?? .max) <= unicodeVersion else { return false }
            switch scalar.properties.generalCategory {
            case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
            default: return scalar.properties.isAlphabetic
            }
        case .set(let set): return set.isIn(scalar)
        }
    }

    // MARK: Categories

    /// The categories by their short names, in the order of their bits.
    private static let categories: [(name: String, category: Unicode.GeneralCategory)] = [
        ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
        ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
        ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
        ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
        ("Cn", .unassigned),
    ]

    /// The bit of a category.
    private static func bit(of category: Unicode.GeneralCategory) -> UInt32 {
        let place =
            switch category {
            case .uppercaseLetter: 0
            case .lowercaseLetter: 1
            case .titlecaseLetter: 2
            case .modifierLetter: 3
            case .otherLetter: 4
            case .nonspacingMark: 5
            case .spacingMark: 6
            case .enclosingMark: 7
            case .decimalNumber: 8
            case .letterNumber: 9
            case .otherNumber: 10
            case .connectorPunctuation: 11
            case .dashPunctuation: 12
            case .openPunctuation: 13
            case .closePunctuation: 14
            case .initialPunctuation: 15
            case .finalPunctuation: 16
            case .otherPunctuation: 17
            case .mathSymbol: 18
            case .currencySymbol: 19
            case .modifierSymbol: 20
            case .otherSymbol: 21
            case .spaceSeparator: 22
            case .lineSeparator: 23
            case .paragraphSeparator: 24
            case .control: 25
            case .format: 26
            case .surrogate: 27
            case .privateUse: 28
            default: 29
            }
        return 1 << UInt32(place)
    }

    /// The bits of a category, such as `Lu`, or of a group of them, such as `L`; nil for an unknown name.
    static func categories(named name: String) -> UInt32? {
        let bits = categories.filter { $0.name == name || (name.count == 1 && $0.name.hasPrefix(name)) }
            .reduce(0) { $0 | bit(of: $1.category) }
        return bits == 0 ? nil : bits
    }
}
