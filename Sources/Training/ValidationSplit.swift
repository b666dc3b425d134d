import CheckpointIO
import TensorCore

/// How many of the training examples are held back for validation.
package enum ValidationSplit: Sendable, Equatable {
    /// A share of them, above 0 and below 1; at least one.
    case share(Double)
    /// So many.
    case count(Int)

    /// As a user writes it.
    package var text: String {
        switch self {
        case .share(let share): "\((share * 1e14).rounded() / 1e12)%"
        case .count(let count): "\(count)"
        }
    }

    /// The examples parted, each part in the order of the files. Which are held back is a function of the seed, the
    /// number of examples and the split alone.
    ///
    /// Throws `badSetting` where one of the parts would be empty.
    package func parted<Element>(
        _ elements: [Element], seed: UInt64
    ) throws(TrainingError) -> (training: [Element], validation: [Element]) {
        let wanted =
            switch self {
            case .share(let share): max(1, Int((share * Double(elements.count)).rounded()))
            case .count(let count): count
            }
        guard wanted >= 1, wanted < elements.count else {
            throw .badSetting(
                .validationSplit, expected: "at least 1 and less than the \(elements.count) examples",
                found: "\(text)")
        }
        var stream = RandomStream(seed: seed).forked("validation split")
        let held = Set(stream.permutation(of: elements.count).prefix(wanted))
        return (
            elements.indices.filter { !held.contains($0) }.map { elements[$0] },
            elements.indices.filter(held.contains).map { elements[$0] }
        )
    }
}
