/// Python's `text % values`.
struct JinjaPercentFormat {
    private let run: JinjaRun
    private let format: JinjaText
    private let isMarkup: Bool
    private var place = 0
    private var result = JinjaText()
    private let values: JinjaValue
    private var used = 0

    init(_ format: JinjaText, _ values: JinjaValue, in run: JinjaRun) {
        self.format = format
        self.values = values
        self.run = run
        isMarkup = format.isMarkup
    }

    /// One `%` with what belongs to it.
    private struct Field {
        var flags: Set<Unicode.Scalar> = []
        var width = 0
        var precision: Int?
        var key: JinjaValue?
    }

    mutating func text() throws(JinjaError) -> JinjaText {
        while let next = format.place(of: ["%"], from: place) {
            result.append(format[place..<next])
            place = next + 1
            try readField()
            try run.checkText(result.count)
        }
        result.append(format[place..<format.count])
        let unused: Bool
        switch values {
        case .tuple(let list): unused = used < list.elements.count
        case .list, .dictionary, .undefined, .range: unused = false
        default: unused = used == 0
        }
        if unused { throw .failed("'%' gets values that its text has no place for") }
        result.isMarkup = isMarkup
        return result
    }

    private mutating func nextValue() throws(JinjaError) -> JinjaValue {
        if case .tuple(let list) = values {
            guard used < list.elements.count else { throw .failed("'%' gets too few values") }
            used += 1
            return list.elements[used - 1]
        }
        guard used == 0 else { throw .failed("'%' gets too few values") }
        used = 1
        return values
    }

    private var current: Unicode.Scalar? { place < format.count ? format.scalars[place] : nil }

    private mutating func readNumber() throws(JinjaError) -> Int? {
        if current == "*" {
            place += 1
            guard let number = try run.integer(nextValue(), of: "%") else { return nil }
            return number
        }
        let digits = format.scalars[place...].prefix { ("0"..."9").contains($0) }
        if digits.isEmpty { return nil }
        place += digits.count
        guard let number = Int(digits.string) else { throw .failed("a width of '%' is too large") }
        return number
    }

    private mutating func readField() throws(JinjaError) {
        if current == "%" {
            place += 1
            return result.append("%")
        }
        var field = Field()
        if current == "(" { field.key = try readKey() }
        while let flag = current, "-+ #0".unicodeScalars.contains(flag) {
            field.flags.insert(flag)
            place += 1
        }
        field.width = try readNumber() ?? 0
        if field.width < 0 {
            field.flags.insert("-")
            field.width = field.width == .min ? .max : -field.width
        }
        if current == "." {
            place += 1
            field.precision = max(0, try readNumber() ?? 0)
        }
        if let size = current, "hlL".unicodeScalars.contains(size) { place += 1 }
        guard let kind = current else { throw .failed("a text ends within a '%'") }
        place += 1
        try run.spendText(max(field.width, field.precision ?? 0))
        let value = if let key = field.key { key } else { try nextValue() }
        result.append(try converted(value, kind, field))
    }

    private mutating func readKey() throws(JinjaError) -> JinjaValue {
        var depth = 1
        let start = place + 1
        while depth > 0 {
            place += 1
            guard let scalar = current else { throw .failed("a key of '%' does not end") }
            if scalar == "(" { depth += 1 }
            if scalar == ")" { depth -= 1 }
        }
        place += 1
        let key = format[start..<place - 1]
        guard case .dictionary(let dictionary) = values else { throw .failed("'%' has a key and gets no dictionary") }
        guard let value = dictionary[.text(key.scalars)] else { throw .failed("'%' has no value '\(key.string)'") }
        return value
    }

    private func converted(_ value: JinjaValue, _ kind: Unicode.Scalar, _ field: Field) throws(JinjaError) -> JinjaText
    {
        switch kind {
        case "s", "r", "a":
            var text = kind == "s" ? try run.string(of: value) : try run.representation(of: value)
            if kind == "a" { text = Self.ascii(text) }
            if isMarkup { text = try run.escaped(text) }
            if let precision = field.precision, precision < text.count { text = text[0..<precision] }
            return JinjaRun.padded(text, to: field.width, " ", field.flags.contains("-") ? "<" : ">")
        case "c":
            return JinjaRun.padded(try character(value), to: field.width, " ", field.flags.contains("-") ? "<" : ">")
        case "d", "i", "u", "o", "x", "X": return padded(try integer(value, kind, field), field)
        case "e", "E", "f", "F", "g", "G": return padded(try real(value, kind, field), field)
        default: throw .failed("'%\(kind)' is no form of a value")
        }
    }

    static func ascii(_ text: JinjaText) -> JinjaText {
        text.mapped { scalar, _, scalars in
            if scalar.isASCII {
                scalars.append(scalar)
            } else {
                scalars += JinjaLexer.asciiEscape(of: scalar).unicodeScalars
            }
        }
    }

    private func character(_ value: JinjaValue) throws(JinjaError) -> JinjaText {
        if case .text(let text) = value, text.count == 1 { return text }
        guard let code = value.asInteger.flatMap(UInt32.init(exactly:)), let scalar = Unicode.Scalar(code) else {
            throw .failed("'%c' gets \(value.kind)")
        }
        return JinjaText(scalars: [scalar])
    }

    /// Sign, prefix and digits of a number.
    private func integer(
        _ value: JinjaValue, _ kind: Unicode.Scalar, _ field: Field
    ) throws(JinjaError) -> (sign: String, digits: String) {
        var number = value.asInteger
        if case .float(let real) = value, "diu".unicodeScalars.contains(kind) {
            number = Int(exactly: real.rounded(.towardZero))
        }
        guard let number else { throw .failed("'%\(kind)' gets \(value.kind)") }
        let radix = kind == "o" ? 8 : kind == "x" || kind == "X" ? 16 : 10
        var digits = String(number.magnitude, radix: radix, uppercase: kind == "X")
        if let precision = field.precision, digits.utf8.count < precision {
            digits = String(repeating: "0", count: precision - digits.utf8.count) + digits
        }
        let prefix = field.flags.contains("#") && radix != 10 ? "0\(kind)" : ""
        return (sign(isNegative: number < 0, field) + prefix, digits)
    }

    private func real(
        _ value: JinjaValue, _ kind: Unicode.Scalar, _ field: Field
    ) throws(JinjaError) -> (sign: String, digits: String) {
        guard let number = value.asNumber else { throw .failed("'%\(kind)' gets \(value.kind)") }
        let isUpper = "EFG".unicodeScalars.contains(kind)
        let form = Character(String(kind).lowercased())
        let magnitude = number.magnitude
        let text =
            number.isFinite
            ? JinjaNumberText.fixed(
                magnitude, form, precision: field.precision ?? 6, keepsZeros: field.flags.contains("#"))
            : number.isNaN ? "nan" : "inf"
        let isNegative = number.sign == .minus && !number.isNaN
        return (sign(isNegative: isNegative, field), isUpper ? text.uppercased() : text)
    }

    private func sign(isNegative: Bool, _ field: Field) -> String {
        isNegative ? "-" : field.flags.contains("+") ? "+" : field.flags.contains(" ") ? " " : ""
    }

    private func padded(_ number: (sign: String, digits: String), _ field: Field) -> JinjaText {
        let missing = max(0, field.width - number.sign.utf8.count - number.digits.utf8.count)
        if field.flags.contains("-") {
            return JinjaText(number.sign + number.digits + String(repeating: " ", count: missing))
        }
        if field.flags.contains("0") {
            return JinjaText(number.sign + String(repeating: "0", count: missing) + number.digits)
        }
        return JinjaText(String(repeating: " ", count: missing) + number.sign + number.digits)
    }
}

extension JinjaRun {
    /// `format % values`
    func formatted(_ format: JinjaText, with values: JinjaValue) throws(JinjaError) -> JinjaText {
        try spendText(format.count)
        var formatting = JinjaPercentFormat(format, values, in: self)
        return try formatting.text()
    }
}
