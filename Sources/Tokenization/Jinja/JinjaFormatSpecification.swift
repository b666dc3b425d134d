/// How a field of `format` is written: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.
struct JinjaFormatSpecification {
    private var fill: Unicode.Scalar = " "
    private var align: Unicode.Scalar?
    private var sign: Unicode.Scalar?
    private var isAlternate = false
    private var hasZero = false
    private var width = 0
    private var grouping: Unicode.Scalar?
    private var precision: Int?
    private var type: Unicode.Scalar?
    private let isEmpty: Bool

    /// Reads a specification.
    init(_ text: JinjaText) throws(JinjaError) {
        isEmpty = text.isEmpty
        var rest = text.scalars[...]
        let aligns = "<>=^".unicodeScalars
        if rest.count > 1, aligns.contains(rest[rest.startIndex + 1]) {
            fill = rest.removeFirst()
            align = rest.removeFirst()
        } else if let first = rest.first, aligns.contains(first) {
            align = rest.removeFirst()
        }
        let hasFill = text.count > 1 && aligns.contains(text.scalars[1])
        if let first = rest.first, "+- ".unicodeScalars.contains(first) { sign = rest.removeFirst() }
        if rest.first == "#" {
            isAlternate = true
            rest.removeFirst()
        }
        if rest.first == "0", !hasFill {
            hasZero = true
            fill = "0"
            rest.removeFirst()
        }
        width = try Self.number(&rest) ?? 0
        if let first = rest.first, first == "," || first == "_" { grouping = rest.removeFirst() }
        if rest.first == "." {
            rest.removeFirst()
            precision = try Self.number(&rest)
            if precision == nil { throw .failed("'format' lacks a precision") }
        }
        if rest.count > 1 { throw .failed("'\(text.string)' is no form of 'format'") }
        type = rest.first
    }

    private static func number(_ rest: inout ArraySlice<Unicode.Scalar>) throws(JinjaError) -> Int? {
        let digits = rest.prefix { ("0"..."9").contains($0) }
        if digits.isEmpty { return nil }
        rest.removeFirst(digits.count)
        guard let number = Int(digits.string) else { throw .failed("a width of 'format' is too large") }
        return number
    }

    /// A value in this form.
    func text(of value: JinjaValue, in run: JinjaRun) throws(JinjaError) -> JinjaText {
        if isEmpty { return try run.string(of: value) }
        try run.spendText(max(width, precision ?? 0))
        switch value {
        case .text(let text): return try string(text)
        case .float(let number): return try real(number)
        default:
            guard let number = value.asInteger else { throw .failed("'format' has no forms for \(value.kind)") }
            if let type, "eEfFgG%".unicodeScalars.contains(type) { return try real(Double(number)) }
            return try integer(number)
        }
    }

    private func string(_ text: JinjaText) throws(JinjaError) -> JinjaText {
        guard type == nil || type == "s", sign == nil, !isAlternate, align != "=", grouping == nil else {
            throw .failed("'format' has a form that is none of a text's")
        }
        let kept = precision.map { text[0..<min($0, text.count)] } ?? text
        return padded(sign: "", kept, align ?? "<")
    }

    private func integer(_ value: Int) throws(JinjaError) -> JinjaText {
        guard precision == nil else { throw .failed("'format' has a precision for an integer") }
        if type == "c" {
            guard sign == nil, let code = UInt32(exactly: value), let scalar = Unicode.Scalar(code) else {
                throw .failed("'format' makes no character of \(value)")
            }
            return padded(sign: "", JinjaText(scalars: [scalar]), align ?? "<")
        }
        let radixes: [Unicode.Scalar: Int] = ["b": 2, "o": 8, "x": 16, "X": 16, "d": 10, "n": 10]
        guard let radix = type == nil ? 10 : radixes[type!] else {
            throw .failed("'format' has no form '\(type!)' of a number")
        }
        if grouping == ",", radix != 10 { throw .failed("'format' groups other digits than decimal ones by commas") }
        let digits = String(value.magnitude, radix: radix, uppercase: type == "X")
        let prefix = isAlternate && radix != 10 ? "0\(type!)" : ""
        return number(
            sign: signText(isNegative: value < 0) + prefix, whole: digits, rest: "", groupSize: radix == 10 ? 3 : 4)
    }

    private func real(_ value: Double) throws(JinjaError) -> JinjaText {
        if let type, !"eEfFgGn%".unicodeScalars.contains(type) {
            throw .failed("'format' has no form '\(type)' of a number with a fraction")
        }
        var text = value.isFinite ? digits(of: value.magnitude) : value.isNaN ? "nan" : "inf"
        if type == "%" { text += "%" }
        if let type, "EFG".unicodeScalars.contains(type) { text = text.uppercased() }
        let whole = text.prefix { ("0"..."9").contains($0) }
        return number(
            sign: signText(isNegative: value.sign == .minus && !value.isNaN), whole: String(whole),
            rest: String(text.dropFirst(whole.count)), groupSize: 3)
    }

    private func digits(of value: Double) -> String {
        switch type {
        case "e", "E": return JinjaNumberText.fixed(value, "e", precision: precision ?? 6, keepsZeros: isAlternate)
        case "f", "F": return JinjaNumberText.fixed(value, "f", precision: precision ?? 6, keepsZeros: isAlternate)
        case "%": return JinjaNumberText.fixed(value * 100, "f", precision: precision ?? 6, keepsZeros: isAlternate)
        case "g", "G", "n": return JinjaNumberText.fixed(value, "g", precision: precision ?? 6, keepsZeros: isAlternate)
        default:
            guard let precision else { return JinjaNumberText.representation(of: value) }
            return short(value, precision: max(1, precision))
        }
    }

    /// Like `g`, but with a digit behind the point at least.
    private func short(_ value: Double, precision: Int) -> String {
        let scientific = JinjaNumberText.fixed(value, "e", precision: precision - 1)
        let exponent = scientific.split(separator: "e").last.flatMap { Int($0) } ?? 0
        if exponent >= -4, exponent < precision - 1 {
            let fixed = JinjaNumberText.fixed(value, "g", precision: precision)
            return fixed.contains(".") ? fixed : fixed + ".0"
        }
        guard exponent >= -4 else { return JinjaNumberText.fixed(value, "g", precision: precision) }
        var mantissa = String(scientific.prefix { $0 != "e" })
        if mantissa.contains(".") {
            while mantissa.last == "0" { mantissa.removeLast() }
            if mantissa.last == "." { mantissa.removeLast() }
        }
        return mantissa + scientific.drop { $0 != "e" }
    }

    private func signText(isNegative: Bool) -> String {
        isNegative ? "-" : sign == "+" ? "+" : sign == " " ? " " : ""
    }

    /// A number of its parts: the digits before the point in groups, zeros before them up to the width.
    private func number(sign: String, whole: String, rest: String, groupSize: Int) -> JinjaText {
        let align = align ?? (hasZero ? "=" : ">")
        var whole = whole
        if align == "=", fill == "0", grouping != nil {
            let room = width - sign.utf8.count - rest.utf8.count
            var count = whole.utf8.count
            while count + (count - 1) / groupSize < room { count += 1 }
            whole = String(repeating: "0", count: count - whole.utf8.count) + whole
        }
        return padded(sign: sign, JinjaText(grouped(whole, by: groupSize) + rest), align)
    }

    private func grouped(_ digits: String, by size: Int) -> String {
        guard let grouping else { return digits }
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.utf8.count - index) % size == 0 { result.unicodeScalars.append(grouping) }
            result.append(digit)
        }
        return result
    }

    private func padded(sign: String, _ digits: JinjaText, _ align: Unicode.Scalar) -> JinjaText {
        let missing = max(0, width - sign.utf8.count - digits.count)
        let left = align == ">" ? missing : align == "^" ? missing / 2 : 0
        var result = JinjaText(scalars: Array(repeating: fill, count: left))
        result.append(sign)
        if align == "=" { for _ in 0..<missing { result.append(fill) } }
        result.append(digits)
        if align != "=" { for _ in 0..<missing - left { result.append(fill) } }
        return result
    }
}
