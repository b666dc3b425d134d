import CKernels

/// Figures of a list of numbers. NaN and infinities are counted and count in nothing else.
///
/// Mean and variance come from sums in double, taken from the first finite number of each stretch of a tensor (so that
/// equal numbers have a deviation of exactly 0), and stretches are put together pairwise by the formula of Chan, Golub
/// and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979), in the order of the
/// tensor: the result does not depend on the number of threads. Numbers beyond about 1e154 have squares that a double
/// cannot hold; their deviation is infinite.
package struct ValueStatistics: Sendable, Equatable {
    /// Numbers that are finite.
    package private(set) var finiteCount = 0
    /// Numbers that are NaN.
    package private(set) var nanCount = 0
    /// Numbers that are plus or minus infinity.
    package private(set) var infiniteCount = 0
    private var lowest = Double.infinity
    private var highest = -Double.infinity
    private var center = 0.0
    /// The sum of squared distances from the mean.
    private var spread = 0.0

    /// No numbers.
    package init() {}

    init(_ moments: tspeft_moments) {
        finiteCount = Int(moments.finite)
        nanCount = Int(moments.nan)
        infiniteCount = Int(moments.infinite)
        lowest = moments.minimum
        highest = moments.maximum
        guard finiteCount > 0 else { return }
        let offset = moments.sum / Double(finiteCount)
        center = moments.shift + offset
        // Rounding may leave a little less than nothing.
        spread = max(0, moments.squares - moments.sum * offset)
    }

    /// The least finite number; nil without any.
    package var minimum: Double? { finiteCount > 0 ? lowest : nil }
    /// The greatest finite number; nil without any.
    package var maximum: Double? { finiteCount > 0 ? highest : nil }
    /// The mean of the finite numbers; nil without any.
    package var mean: Double? { finiteCount > 0 ? center : nil }
    /// The standard deviation of the finite numbers, as a whole population (divided by their count); nil without any.
    package var standardDeviation: Double? {
        finiteCount > 0 ? (spread / Double(finiteCount)).squareRoot() : nil
    }

    /// These numbers and those of `other`, which come after them.
    package mutating func add(_ other: ValueStatistics) {
        nanCount += other.nanCount
        infiniteCount += other.infiniteCount
        guard other.finiteCount > 0 else { return }
        guard finiteCount > 0 else {
            let (nan, infinite) = (nanCount, infiniteCount)
            self = other
            (nanCount, infiniteCount) = (nan, infinite)
            return
        }
        lowest = min(lowest, other.lowest)
        highest = max(highest, other.highest)
        let (own, others) = (Double(finiteCount), Double(other.finiteCount))
        let distance = other.center - center
        let share = others / (own + others)
        center += distance * share
        spread += other.spread + distance * distance * own * share
        finiteCount += other.finiteCount
    }

    /// The figures of all in order, put together two and two, those of neighbours first.
    static func total(_ parts: ArraySlice<ValueStatistics>) -> ValueStatistics {
        guard parts.count > 1 else { return parts.first ?? ValueStatistics() }
        let middle = parts.startIndex + (parts.count + 1) / 2
        var total = total(parts[..<middle])
        total.add(self.total(parts[middle...]))
        return total
    }
}
