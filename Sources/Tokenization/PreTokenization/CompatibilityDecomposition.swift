/// What Unicode's compatibility forms (UAX 15, NFKC and NFKD) write instead of a character, where it is more than marks
/// taken apart: "ﬁ" as "fi", "Ａ" as "A".
enum CompatibilityDecomposition {
    /// By character its decomposition, itself decomposed as far as it goes.
    static let texts: [UInt32: [UInt8]] = read()

    /// Reads the table, which this program holds.
    private static func read() -> [UInt32: [UInt8]] {
        var texts: [UInt32: [UInt8]] = [:]
        texts.reserveCapacity(4096)
        var key: UInt32 = 0
        for word in table.description.utf8.split(whereSeparator: { $0 == UInt8(ascii: " ") }) {
            let sides = word.split(separator: UInt8(ascii: "="))
            let run = sides[0].split(separator: UInt8(ascii: "*"))
            let values = sides[1].split(separator: UInt8(ascii: ".")).map(number)
            key += number(run[0])
            let count = run.count > 1 ? number(run[1]) : 1
            for step in 0..<count {
                texts[key + step] = values.flatMap { value in
                    Array(UTF8.encode(Unicode.Scalar(value + step)!)!)
                }
            }
        }
        return texts
    }

    /// A number in hexadecimal digits.
    private static func number(_ digits: some Sequence<UInt8>) -> UInt32 {
        digits.reduce(0) { $0 << 4 | UInt32($1 < 0x3A ? $1 - 0x30 : $1 - 0x57) }
    }
}
