/// Filters on numbers.
extension JinjaRun {
    func numberFilter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        if case .undefined(let problem) = value, name != "sum" { throw .failed(problem) }
        switch name {
        case "abs":
            _ = try bind(call, [], of: name)
            if case .float(let number) = value { return .float(number.magnitude) }
            guard let number = value.asInteger else { throw .failed("'abs' of \(value.kind)") }
            return number < 0 ? try JinjaArithmetic.integers(.subtract, 0, number) : .integer(number)
        case "float":
            let standard = try bind(call, ["default"], of: name)[0] ?? .float(0)
            if let number = value.asNumber { return .float(number) }
            return value.asText.flatMap(JinjaNumberText.float).map { .float($0) } ?? standard
        case "int": return try integer(value, call)
        case "round": return try rounded(value, call)
        case "filesizeformat": return .plain(try fileSize(value, call))
        default:
            let values = try bind(call, ["attribute", "start"], of: name)
            let getter = try attributeGetter(values[0])
            var sum = values[1] ?? .integer(0)
            if case .text = sum { throw .failed("'sum' adds texts") }
            let source = try iterate(value)
            while let element = try source.next() {
                try spend(1)
                sum = try combine(.add, sum, getter(element))
            }
            return sum
        }
    }

    private func integer(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["default", "base"], of: "int")
        let standard = values[0] ?? .integer(0)
        if let number = value.asInteger { return .integer(number) }
        var number: Double?
        switch value {
        case .float(let value):
            // Infinity is an error of its own in jinja.
            if value.isInfinite { throw .failed("an infinite number is no integer") }
            number = value
        case .text(let text):
            let radix = try integer(values[1], of: "int") ?? 10
            if let value = try JinjaNumberText.integer(text, radix: radix) { return .integer(value) }
            number = JinjaNumberText.float(text)
        default: break
        }
        guard let number, number.isFinite else { return standard }
        guard let integer = Int(exactly: number.rounded(.towardZero)) else {
            throw .failed("the number \(JinjaNumberText.representation(of: number)) has more than 64 bits")
        }
        return .integer(integer)
    }

    private func rounded(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["precision", "method"], of: "round")
        let method = try text(values[1], of: "round")?.string ?? "common"
        guard ["common", "ceil", "floor"].contains(method) else { throw .failed("'round' has no method '\(method)'") }
        let digits = try integer(values[0], of: "round") ?? 0
        guard let number = value.asNumber else { throw .failed("'round' of \(value.kind)") }
        if method == "common" {
            if let integer = value.asInteger { return try rounded(integer, digits: digits) }
            return .float(JinjaNumberText.rounded(number, digits: digits))
        }
        let (power, product) = (jinjaPower(10, Double(digits)), try scaled(value, digits: digits))
        guard product.isFinite else { throw .failed("'round' of a number that is not finite") }
        return .float(product.rounded(method == "ceil" ? .up : .down) / power)
    }

    private func scaled(_ value: JinjaValue, digits: Int) throws(JinjaError) -> Double {
        let product = (value.asNumber ?? 0) * jinjaPower(10, Double(digits))
        return product
    }

    /// Python's `round` of an integer: with a negative number of digits to the even multiple of two.
    private func rounded(_ value: Int, digits: Int) throws(JinjaError) -> JinjaValue {
        if digits >= 0 { return .integer(value) }
        if digits < -18 { return .integer(0) }
        var unit = 1
        for _ in 0..<(-digits) { unit *= 10 }
        let remainder = value % unit
        let below = value - remainder
        let isUp =
            remainder.magnitude * 2 > unit.magnitude
            || remainder.magnitude * 2 == unit.magnitude && below / unit % 2 != 0
        return isUp
            ? try JinjaArithmetic.integers(.add, below, remainder < 0 ? -unit : unit) : .integer(below)
    }

    private func fileSize(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> String {
        let isBinary = try bind(call, ["binary"], of: "filesizeformat")[0]?.isTrue ?? false
        guard let bytes = value.asNumber ?? value.asText.flatMap(JinjaNumberText.float) else {
            throw .failed("'filesizeformat' of \(value.kind)")
        }
        let base: Double = isBinary ? 1024 : 1000
        if bytes == 1 { return "1 Byte" }
        if bytes < base {
            guard let whole = Int(exactly: bytes.rounded(.towardZero)) else {
                throw .failed("'filesizeformat' of no size")
            }
            return "\(whole) Bytes"
        }
        let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"]
        var unit = base
        for (index, prefix) in prefixes.enumerated() {
            unit *= base
            guard bytes < unit || index == prefixes.count - 1 else { continue }
            let size = JinjaNumberText.fixed(base * bytes / unit, "f", precision: 1)
            return size + " " + (isBinary ? prefix.uppercased() + "iB" : prefix + "B")
        }
        throw .failed("'filesizeformat' of \(value.kind), which is no number")
    }
}
