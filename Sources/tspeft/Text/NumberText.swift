import Glibc

/// A number in scientific notation with `digits` places, such as 4.5e-05.
func scientific(_ value: Double, _ digits: Int = 2) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : fixed(value, 0) }
    var exponent = Int(floor(log10(abs(value))))
    var text = fixed(value / pow(10, Double(exponent)), digits)
    if text.hasPrefix("10") || text.hasPrefix("-10") {
        exponent += 1
        text = fixed(value / pow(10, Double(exponent)), digits)
    }
    let size = String(abs(exponent))
    return text + "e" + (exponent < 0 ? "-" : "+") + (size.count < 2 ? "0" : "") + size
}

/// A count with thousands marked off by commas.
func grouped(_ count: Int) -> String {
    let digits = String(count.magnitude)
    var text = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return (count < 0 ? "-" : "") + text
}

/// A size in bytes in binary units, such as 5.3 MiB.
func byteText(_ bytes: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0 ? "\(bytes) B" : fixed(value, 1) + " " + units[unit]
}

/// A number with six significant digits, without zeros at the end: 0.0123457, 1.5e-07, 12.
func significant(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : fixed(value, 0) }
    let exponent = Int(floor(log10(abs(value))))
    let isPlain = (-5..<9).contains(exponent)
    var text = isPlain ? fixed(value, max(0, 5 - exponent)) : scientific(value, 5)
    let tail = text.firstIndex(of: "e").map { String(text[$0...]) } ?? ""
    text.removeLast(tail.count)
    if text.contains(".") {
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
    }
    return text + tail
}
