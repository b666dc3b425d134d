import Synchronization

/// What an update W + dW was against the rounding of the type that it was stored in: with U the update as float32 sums
/// have it, V = W + U, D = decode(encode(V)) and R = D - W what really became of the weights.
///
/// Weights that come from a coarse type lie on its grid. An update much smaller than half a step then leaves them where
/// they are, whatever it is: the merge succeeds and the adapter is gone.
package struct TensorRounding: Sendable, Equatable {
    /// The tensor, by its name in the file.
    package let tensor: String
    /// The type that it is stored in.
    package let encoding: String
    /// How many weights changed and by how much at most.
    package let outcome: MergeReport.Outcome
    /// sqrt(mean U^2) over the tensor.
    package let updateRMS: Double
    /// sqrt(mean (D - V)^2) over the tensor. Blocks whose update is zero keep their bytes and count as 0.
    package let roundingRMS: Double
    /// sum R U / sum U^2, the part of the update that arrived: 1 where rounding adds nothing but noise that is as often
    /// for the update as against it, 0 where the weights stay as they were. 1 for an update of zeros.
    package let arrivedShare: Double

    /// Below this share an update counts as swallowed.
    package static let swallowedShare = 0.5
    /// From this share on an update counts as kept, unless the rounding error is too loud for it.
    package static let keptShare = 0.9
    /// roundingRMS / updateRMS up to which an update can be heard. Rounding errors are spread over all directions of a
    /// weight, an update of rank r lies in r of n: where n / r is 64 it is as loud there, 8 times as loud as it is on
    /// the whole.
    package static let loudestRounding = 8.0

    /// Whether rounding took more than half of the update.
    package var isSwallowed: Bool { arrivedShare < Self.swallowedShare }
}

/// A type in which an update that rounding swallowed would be kept.
package struct RoundingAdvice: Sendable, Equatable {
    /// The tensors that lost it, by their names in the file.
    package let tensors: [String]
    /// The types that they are stored in.
    package let encodings: [String]
    /// The smallest type, as a request takes it, that keeps the updates of all of them, as measured on rows of each;
    /// nil where none does.
    package let dtype: String?
}

/// Sums over weights of which `TensorRounding` is made.
struct RoundingSums: Sendable {
    var count = 0
    var changedCount = 0
    var largestChange: Float = 0
    /// Weights that are NaN or infinite, as they were in the base.
    var unusableCount = 0
    /// Of U^2, (D - V)^2 and R U.
    var updateSquared = 0.0
    var errorSquared = 0.0
    var arrived = 0.0

    /// Takes in weights before the update, with it, and as they were stored. Updates that are not finite, which base
    /// weights that are not finite have, are left out of the sums.
    mutating func add(
        before: UnsafeMutableBufferPointer<Float>, after: UnsafeMutableBufferPointer<Float>,
        stored: UnsafeMutableBufferPointer<Float>
    ) {
        count += before.count
        for index in before.indices {
            let (old, sum, result) = (Double(before[index]), Double(after[index]), Double(stored[index]))
            let update = sum - old
            guard update.isFinite, result.isFinite else { continue }
            updateSquared += update * update
            errorSquared += (result - sum) * (result - sum)
            arrived += update * (result - old)
        }
    }

    mutating func add(_ other: RoundingSums) {
        count += other.count
        changedCount += other.changedCount
        largestChange = max(largestChange, other.largestChange)
        unusableCount += other.unusableCount
        updateSquared += other.updateSquared
        errorSquared += other.errorSquared
        arrived += other.arrived
    }

    var arrivedShare: Double { updateSquared > 0 ? arrived / updateSquared : 1 }

    /// Whether the update is there for the most part, and can be heard beside the rounding.
    var keepsUpdate: Bool {
        let limit = TensorRounding.loudestRounding
        return arrivedShare >= TensorRounding.keptShare && errorSquared <= limit * limit * updateSquared
    }

    func rounding(of tensor: String, in encoding: String) -> TensorRounding {
        let weights = Double(max(1, count))
        return TensorRounding(
            tensor: tensor, encoding: encoding,
            outcome: MergeReport.Outcome(
                weightCount: count, changedCount: changedCount, largestChange: largestChange),
            updateRMS: (updateSquared / weights).squareRoot(), roundingRMS: (errorSquared / weights).squareRoot(),
            arrivedShare: arrivedShare)
    }
}

/// The sums of a tensor, made while several threads write it.
final class RoundingTally: Sendable {
    private let state = Mutex(RoundingSums())

    /// What was summed so far.
    var sums: RoundingSums { state.withLock { $0 } }

    func add(_ sums: RoundingSums) { state.withLock { $0.add(sums) } }
}
