/// What a batch is scored against: some of its rows, and what is expected of each. For an objective of whole sequences a
/// row is one of what the model gives for sequences, in their order.
package struct Labels: Sendable, Equatable {
    /// What is expected of a row.
    package enum Values: Sendable, Equatable {
        /// A choice, such as the id of the token that follows, or a class.
        case ids([Int32])
        /// A number.
        case numbers([Float])

        fileprivate var count: Int {
            switch self {
            case .ids(let ids): ids.count
            case .numbers(let numbers): numbers.count
            }
        }
    }

    /// The rows that are scored; where there is a backward pass none stands twice.
    package let rows: [Int32]
    /// What is expected of each of them, in their order.
    package let values: Values

    /// As many values as rows.
    package init(rows: [Int32], _ values: Values) {
        precondition(rows.count == values.count, "\(values.count) values for \(rows.count) rows")
        self.rows = rows
        self.values = values
    }

    /// How many rows are scored.
    package var count: Int { rows.count }
}
