import Glibc

/// Numbers as Python writes and reads them.
enum JinjaNumberText {
    /// Python's `repr`: the shortest digits that read back as the number, with an exponent below 1e-4 and from 1e16 on.
    static func representation(of value: Double) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        let sign = value.sign == .minus ? "-" : ""
        let (digits, point) = shortest(value.magnitude)
        if point > 16 || point < -3 {
            let exponent = point - 1
            let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
            let size = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
            return sign + String(digits.prefix(1)) + fraction + (exponent < 0 ? "e-" : "e+") + size
        }
        if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
        if point >= digits.count {
            return sign + digits + String(repeating: "0", count: point - digits.count) + ".0"
        }
        return sign + digits.prefix(point) + "." + digits.dropFirst(point)
    }

    /// The shortest digits of a finite number, and where the decimal point stands among them.
    private static func shortest(_ value: Double) -> (digits: String, point: Int) {
        if value == 0 { return ("0", 1) }
        let parts = value.description.split(separator: "e")
        var exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let mantissa = parts[0].split(separator: ".")
        var digits = mantissa.joined()
        exponent += mantissa[0].count
        let zeros = digits.prefix { $0 == "0" }.count
        digits.removeFirst(zeros)
        while digits.count > 1, digits.last == "0" { digits.removeLast() }
        return (digits, exponent - zeros)
    }

    /// C's form of a number: `f`, `e` or `g` with so many digits, `#` for digits that `g` leaves out.
    static func fixed(_ value: Double, _ form: Character, precision: Int, keepsZeros: Bool = false) -> String {
        let format = "%\(keepsZeros ? "#" : "").*\(form)"
        return withVaList([Int32(clamping: precision), value]) { arguments in
            var buffer = [CChar](repeating: 0, count: 400 + max(0, precision))
            vsnprintf(&buffer, buffer.count, format, arguments)
            return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// Python's `round`: to the nearest, the even one of two, of the number as it is written in full.
    static func rounded(_ value: Double, digits: Int) -> Double {
        guard value.isFinite, digits < 308 else { return value }
        if digits < -308 { return Double(signOf: value, magnitudeOf: 0) }
        if digits >= 0 { return Double(fixed(value, "f", precision: digits)) ?? value }
        let scale = jinjaPower(10, Double(-digits))
        return (value / scale).rounded(.toNearestOrEven) * scale
    }

    /// What Python's `float` reads in a text; nil where it reads nothing.
    static func float(_ text: JinjaText) -> Double? {
        var word = text.trimmed(where: JinjaText.isSpace).string.lowercased()
        let unsigned = word.drop { $0 == "+" || $0 == "-" }
        guard word.count - unsigned.count <= 1 else { return nil }
        if ["inf", "infinity"].contains(String(unsigned)) { return word.hasPrefix("-") ? -.infinity : .infinity }
        if unsigned == "nan" { return .nan }
        guard word.utf8.allSatisfy({ "0123456789+-._e".utf8.contains($0) }), let plain = withoutUnderscores(word)
        else { return nil }
        word = plain
        if word.hasSuffix(".") { word.removeLast() }
        if word.hasPrefix("+") { word.removeFirst() }
        guard word.contains(where: \.isNumber), !word.hasPrefix("e"), !word.hasPrefix("-e") else { return nil }
        if let dot = word.firstIndex(of: "."), word[dot...].hasPrefix(".e") { word.remove(at: dot) }
        return Double(word)
    }

    /// What Python's `int` reads in a text: nil where it reads nothing. Throws where it has more than 64 bits.
    static func integer(_ text: JinjaText, radix: Int) throws(JinjaError) -> Int? {
        let word = text.trimmed(where: JinjaText.isSpace).string.lowercased()
        let sign = word.hasPrefix("-") ? "-" : ""
        var digits = word.hasPrefix("-") || word.hasPrefix("+") ? String(word.dropFirst()) : word
        var radix = radix
        for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.hasPrefix(prefix) {
            guard radix == base || radix == 0 else { continue }
            radix = base
            digits.removeFirst(2)
            if digits.hasPrefix("_") { digits.removeFirst() }
            break
        }
        if radix == 0 {
            guard !digits.hasPrefix("0") || digits.allSatisfy({ $0 == "0" || $0 == "_" }) else { return nil }
            radix = 10
        }
        guard (2...36).contains(radix), let plain = withoutUnderscores(digits), !plain.isEmpty,
            plain.allSatisfy({ $0.isASCII && $0.isHexOrLetter && Int(String($0), radix: radix) != nil })
        else { return nil }
        if let value = Int(sign + plain, radix: radix) { return value }
        throw .failed("the number \(plain.prefix(40)) has more than 64 bits")
    }

    /// Underscores may stand between digits.
    private static func withoutUnderscores(_ text: String) -> String? {
        guard text.contains("_") else { return text }
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty }),
            zip(parts, parts.dropFirst()).allSatisfy({ $0.last!.isHexOrLetter && $1.first!.isHexOrLetter })
        else { return nil }
        return parts.joined()
    }
}

extension Character {
    fileprivate var isHexOrLetter: Bool { isASCII && (isLetter || isNumber) }
}

/// C's `pow`.
func jinjaPower(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
