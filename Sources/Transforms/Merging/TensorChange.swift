import Adapters
import CKernels
import TensorCore

/// What a merge does to one tensor of the base, row by row.
enum TensorChange {
    /// W + scale B A.
    case added(LowRankChange)
    /// W + share ((m / n) (W + scale B A) - W), n the norms of the rows of W + scale B A. A row of zeros, which no
    /// length can be given to, stays one (m / n counts as 1).
    case rescaled(LowRankChange, magnitude: [Float], share: Double)
    /// W with its rows or columns scaled.
    case scaled(ScaledChange)
    /// One number for each row: an addition to a bias.
    case offset([Float])
    /// The values of the whole tensor take the place of the base's.
    case replaced([Float])

    /// Changes rows `rows`, which lie at `weights`, [rows.count, width].
    ///
    /// - Parameter before: the same rows, which stay as they are.
    func apply(to weights: UnsafeMutablePointer<Float>, before: UnsafePointer<Float>, rows: Range<Int>, width: Int) {
        makeUpdate(to: weights, rows: rows, width: width)
        guard case .rescaled(_, let magnitude, let share) = self else { return }
        let norms = [Float](unsafeUninitializedCapacity: rows.count) { norms, filled in
            WeightChange.rowNorms(weights, into: norms.baseAddress!, rows: rows.count, width: width)
            filled = rows.count
        }
        for (place, row) in rows.enumerated() {
            // In float, as in training and in peft.
            let ratio = Self.ratio(magnitude[row], norms[place])
            let sums = weights + place * width
            if share == 1 {
                for index in 0..<width { sums[index] *= ratio }
            } else {
                let old = before + place * width
                for index in 0..<width {
                    let base = Double(old[index])
                    sums[index] = Float(base + share * (Double(ratio) * Double(sums[index]) - base))
                }
            }
        }
    }

    /// Changes rows of doubles: the products of the factors are computed in float, all else in double.
    ///
    /// - Parameters:
    ///   - weights: rows `rows`, [rows.count, width].
    ///   - before: the same rows.
    ///   - scratch: as many floats.
    func apply(
        to weights: UnsafeMutablePointer<Double>, before: UnsafePointer<Double>, rows: Range<Int>, width: Int,
        scratch: UnsafeMutableBufferPointer<Float>
    ) {
        if case .scaled(let change) = self {
            for (place, row) in rows.enumerated() {
                for column in 0..<width {
                    let factor = Double(change.factors[change.axis == .rows ? row : column])
                    weights[place * width + column] *= change.share == 1 ? factor : 1 + change.share * (factor - 1)
                }
            }
            return
        }
        scratch.initialize(repeating: 0)
        makeUpdate(to: scratch.baseAddress!, rows: rows, width: width)
        if case .replaced = self {
            // A weight that is replaced by its own float stays.
            for index in scratch.indices where Float(weights[index]) != scratch[index] {
                weights[index] = Double(scratch[index])
            }
            return
        }
        for index in scratch.indices where scratch[index] != 0 { weights[index] += Double(scratch[index]) }
        guard case .rescaled(_, let magnitude, let share) = self else { return }
        for (place, row) in rows.enumerated() {
            let sums = weights + place * width
            let squares = (0..<width).reduce(0) { $0 + sums[$1] * sums[$1] }
            let ratio = Self.ratio(Double(magnitude[row]), squares.squareRoot())
            for index in 0..<width {
                let base = before[place * width + index]
                sums[index] = share == 1 ? ratio * sums[index] : base + share * (ratio * sums[index] - base)
            }
        }
    }

    /// The same change for a tensor whose row r is row `source[r]` of this one's.
    func reordered(_ source: [Int]) -> TensorChange {
        func rows(_ values: [Float]) -> [Float] {
            let width = source.isEmpty ? 0 : values.count / source.count
            return source.flatMap { values[$0 * width..<($0 + 1) * width] }
        }
        func reordered(_ low: LowRankChange) -> LowRankChange {
            var low = low
            low.b = rows(low.b)
            return low
        }
        return switch self {
        case .added(let low): .added(reordered(low))
        case .rescaled(let low, let magnitude, let share):
            .rescaled(reordered(low), magnitude: rows(magnitude), share: share)
        case .scaled(let change): .scaled(change.axis == .rows ? change.with(rows(change.factors)) : change)
        case .offset(let values): .offset(rows(values))
        case .replaced(let values): .replaced(rows(values))
        }
    }

    /// Adds rows `rows` of what is added to `weights`, [rows.count, width], or puts what replaces them there.
    private func makeUpdate(to weights: UnsafeMutablePointer<Float>, rows: Range<Int>, width: Int) {
        switch self {
        case .added(let low), .rescaled(let low, _, _):
            if let (numerator, divisor) = low.quotient {
                var update = [Float](repeating: 0, count: rows.count * width)
                var whole = low
                (whole.scale, whole.quotient) = (numerator, nil)
                update.withUnsafeMutableBufferPointer {
                    Self.added(whole).makeUpdate(to: $0.baseAddress!, rows: rows, width: width)
                }
                for index in update.indices where update[index] != 0 { weights[index] += update[index] / divisor }
                return
            }
            _ = low.add(to: weights, of: .f32, into: weights, rows: rows, width: width)
        case .scaled(let change):
            for (place, row) in rows.enumerated() {
                for column in 0..<width {
                    let factor = change.factors[change.axis == .rows ? row : column]
                    let index = place * width + column
                    weights[index] =
                        change.share == 1
                        ? weights[index] * factor
                        : Float(Double(weights[index]) * (1 + change.share * (Double(factor) - 1)))
                }
            }
        case .offset(let values):
            precondition(width == 1, "a bias has one number a row")
            for (place, row) in rows.enumerated() where values[row] != 0 { weights[place] += values[row] }
        case .replaced(let values):
            values.withUnsafeBufferPointer {
                weights.update(from: $0.baseAddress! + rows.lowerBound * width, count: rows.count * width)
            }
        }
    }

    /// m / n of a row; NaN, which is refused later, for a norm that is beyond the type.
    private static func ratio<Number: BinaryFloatingPoint>(_ magnitude: Number, _ norm: Number) -> Number {
        norm == 0 ? 1 : norm.isFinite ? magnitude / norm : .nan
    }
}

extension LowRankChange {
    /// Adds rows `rows` of scale B A to weights as they are stored, rounds once, and counts what changed: for changes
    /// without a quotient.
    ///
    /// - Parameters:
    ///   - stored: these rows of the weights, [rows.count, width] of `dtype`.
    ///   - dtype: F32, BF16 or F16, of both.
    ///   - target: where the sums go, which may be `stored`.
    func add(
        to stored: UnsafeRawPointer, of dtype: DType, into target: UnsafeMutableRawPointer, rows: Range<Int>, width: Int
    ) -> tspeft_change {
        precondition(quotient == nil, "a quotient is not a product with one factor")
        return a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                // An array of rank 0 has no address; no number of it is read.
                let b = b.baseAddress.map { $0 + rows.lowerBound * rank }
                return tspeft_merge_rows(
                    target, stored, dtype.kernelCode, b, a.baseAddress, scale, rows.count, rank, width)
            }
        }
    }

    /// All of `changes`, at least one and all of one module, as one: the columns of each B, with its factor, beside
    /// those of the others, so that a weight takes up their sum in one addition.
    static func sum(of changes: [LowRankChange]) -> LowRankChange {
        guard changes.count > 1 else { return changes[0] }
        let rank = changes.reduce(0) { $0 + $1.rank }
        let rowCount = changes.first { $0.rank > 0 }.map { $0.b.count / $0.rank } ?? 0
        var b: [Float] = []
        b.reserveCapacity(rowCount * rank)
        for row in 0..<rowCount {
            for change in changes {
                for column in 0..<change.rank { b.append(change.scale * change.b[row * change.rank + column]) }
            }
        }
        return LowRankChange(a: changes.flatMap(\.a), b: b, rank: rank, scale: 1)
    }
}

extension ScaledChange {
    /// The same with other factors.
    func with(_ factors: [Float]) -> ScaledChange {
        var copy = self
        copy.factors = factors
        return copy
    }
}
