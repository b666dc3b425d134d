/// Letters as Python's `str` changes and tells them, by Unicode's tables.
enum JinjaLetters {
    /// A text in other letters, by the name of Python's method.
    static func changed(_ text: JinjaText, _ name: String) -> JinjaText {
        switch name {
        case "upper": text.mapped { scalar, _, scalars in scalars += upper(scalar) }
        case "lower": text.mapped { scalar, index, scalars in scalars += lower(scalar, at: index, in: text.scalars) }
        case "casefold": text.mapped { scalar, _, scalars in scalars += folded(scalar) }
        case "swapcase":
            text.mapped { scalar, index, scalars in
                scalars +=
                    isUpper(scalar)
                    ? lower(scalar, at: index, in: text.scalars) : isLower(scalar) ? upper(scalar) : [scalar]
            }
        case "capitalize":
            text.mapped { scalar, index, scalars in
                scalars += index == 0 ? title(scalar) : lower(scalar, at: index, in: text.scalars)
            }
        default:
            text.mapped { scalar, index, scalars in
                let follows = index > 0 && isCased(text.scalars[index - 1])
                scalars += follows ? lower(scalar, at: index, in: text.scalars) : title(scalar)
            }
        }
    }

    static func upper(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.isASCII { return [("a"..."z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value - 32)) : scalar] }
        return Array(scalar.properties.uppercaseMapping.unicodeScalars)
    }

    static func title(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        scalar.isASCII ? upper(scalar) : Array(scalar.properties.titlecaseMapping.unicodeScalars)
    }

    private static func lower(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.isASCII { return [("A"..."Z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value + 32)) : scalar] }
        return Array(scalar.properties.lowercaseMapping.unicodeScalars)
    }

    /// The small letter; a sigma that ends a word has a form of its own.
    static func lower(_ scalar: Unicode.Scalar, at index: Int, in scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        guard scalar == "\u{3A3}" else { return lower(scalar) }
        let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
        let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
        let isFinal = before.map(isCased) ?? false && !(after.map(isCased) ?? false)
        return [isFinal ? "\u{3C2}" : "\u{3C3}"]
    }

    /// Unicode's full case folding, of which Swift has no table: the small letters of the capitals, but for dotless i,
    /// which is its own, and Cherokee, which folds to capitals.
    static func folded(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.isASCII { return lower(scalar) }
        switch scalar.value {
        case 0x131: return [scalar]
        case 0x13A0...0x13F5: return [scalar]
        case 0x13F8...0x13FD, 0xAB70...0xABBF: return upper(scalar)
        default: return lower(scalar).flatMap(upper).flatMap { lower($0) }
        }
    }

    static func isUpper(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isUppercase }
    static func isLower(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isLowercase }

    /// Whether a letter has a case.
    static func isCased(_ scalar: Unicode.Scalar) -> Bool {
        isUpper(scalar) || isLower(scalar) || scalar.properties.generalCategory == .titlecaseLetter
    }

    /// Whether what Python's method of that name asks is so.
    static func holds(_ text: JinjaText, _ name: String) -> Bool {
        let scalars = text.scalars
        switch name {
        case "isascii": return scalars.allSatisfy(\.isASCII)
        case "isprintable": return scalars.allSatisfy(JinjaRun.isPrintable)
        case "isidentifier":
            guard let first = scalars.first, first == "_" || first.properties.isXIDStart else { return false }
            return scalars.allSatisfy(\.properties.isXIDContinue)
        case "islower", "isupper":
            let isOther = name == "islower" ? isUpper : isLower
            guard scalars.contains(where: name == "islower" ? isLower : isUpper) else { return false }
            return !scalars.contains { isOther($0) || $0.properties.generalCategory == .titlecaseLetter }
        case "istitle": return isTitle(scalars)
        default: return !scalars.isEmpty && scalars.allSatisfy { holds($0, name) }
        }
    }

    private static func holds(_ scalar: Unicode.Scalar, _ name: String) -> Bool {
        switch name {
        case "isspace": JinjaText.isSpace(scalar)
        case "isdecimal": scalar.properties.numericType == .decimal
        case "isdigit": scalar.properties.numericType == .decimal || scalar.properties.numericType == .digit
        case "isnumeric": scalar.properties.numericType != nil
        case "isalpha": isAlphabetic(scalar)
        default: isAlphabetic(scalar) || scalar.properties.numericType != nil
        }
    }

    private static func isAlphabetic(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }

    /// Whether a scalar is a part of a word of regular expressions.
    static func isWordPart(_ scalar: Unicode.Scalar) -> Bool { scalar == "_" || holds(scalar, "isalnum") }

    private static func isTitle(_ scalars: [Unicode.Scalar]) -> Bool {
        var (follows, hasCased) = (false, false)
        for scalar in scalars {
            let isCapital = isUpper(scalar) || scalar.properties.generalCategory == .titlecaseLetter
            if isCapital ? follows : isLower(scalar) && !follows { return false }
            follows = isCapital || isLower(scalar)
            hasCased = hasCased || follows
        }
        return hasCased
    }

    private static let lineEnds: Set<Unicode.Scalar> = [
        "\n", "\r", "\u{B}", "\u{C}", "\u{1C}", "\u{1D}", "\u{1E}", "\u{85}", "\u{2028}", "\u{2029}",
    ]

    static func lineEndCount(of text: JinjaText) -> Int { text.scalars.count { lineEnds.contains($0) } }

    /// The lines of a text as Python's `splitlines` has them.
    static func lines(of text: JinjaText, keepingEnds: Bool = false) -> [JinjaText] {
        var lines: [JinjaText] = []
        var (start, index) = (0, 0)
        while index < text.count {
            guard lineEnds.contains(text.scalars[index]) else {
                index += 1
                continue
            }
            let end = text.stands(["\r", "\n"], at: index) ? index + 2 : index + 1
            lines.append(text[start..<(keepingEnds ? end : index)])
            (start, index) = (end, end)
        }
        if start < text.count { lines.append(text[start..<text.count]) }
        return lines
    }
}
