/// How many modules to keep: a part of them, or a number.
package struct KeepRule: Sendable, Equatable {
    private enum Amount: Equatable {
        case count(Int)
        /// `numerator / denominator` percent, exact.
        case percent(numerator: Int, denominator: Int)
    }

    /// The rule as it was written, such as `50%`.
    package let text: String
    private let amount: Amount

    /// Digits after the point of a percentage.
    private static let digitLimit = 6

    /// Reads `50%`, `12.5%` (above 0, at most 100) or `40` (at least 1); throws `.badKeepRule`.
    package init(_ text: String) throws(TransformError) {
        self.text = text
        let expected = "a percentage such as 50% (above 0, at most 100) or a number of modules such as 40"
        let failure = TransformError.badKeepRule(text, expected: expected)
        guard text.hasSuffix("%") else {
            guard let count = Int(text), count >= 1 else { throw failure }
            amount = .count(count)
            return
        }
        let parts = text.dropLast().split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count == 2 ? parts[1] : ""
        let digits = String(parts[0] + fraction)
        guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            !parts[0].isEmpty, fraction.count <= Self.digitLimit, parts.count == 1 || !fraction.isEmpty,
            let numerator = Int(digits)
        else { throw failure }
        let denominator = (0..<fraction.count).reduce(1) { power, _ in power * 10 }
        guard numerator > 0, numerator <= 100 * denominator else { throw failure }
        amount = .percent(numerator: numerator, denominator: denominator)
    }

    /// Modules to keep of `total`: the count, or p percent of the total rounded to nearest, halves up.
    ///
    /// Throws `.badKeepRule` where that is none, or more than there are.
    package func count(of total: Int) throws(TransformError) -> Int {
        switch amount {
        case .count(let count):
            guard count <= total else {
                throw .badKeepRule(text, expected: "at most the \(total) modules that there are")
            }
            return count
        case .percent(let numerator, let denominator):
            let whole = 100 * denominator
            let count = (2 * numerator * total + whole) / (2 * whole)
            guard count >= 1 else {
                throw .badKeepRule(text, expected: "a share that keeps at least one of the \(total) modules")
            }
            return count
        }
    }
}
