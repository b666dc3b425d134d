import Adapters
import CKernels
import TensorCore

/// What a merge does to one tensor of the base, row by row.
enum TensorChange: Sendable {
    /// W + scale B A.
    case added(LowRankChange)
    /// W + share ((m / n) (W + scale B A) - W), n the norms of the rows of W + scale B A. A row of zeros, which no
    /// length can be given to, stays one (m / n counts as 1).
    case rescaled(LowRankChange, magnitude: [Float], share: Double)
    /// W with its rows or columns scaled.
    case scaled(ScaledChange)
    /// One number for each row: an addition to a bias.
    case offset([Float])
    /// W + share (f (W + scale B A) - W) with a factor f for each column.
    case rescaledColumns(LowRankChange, factors: [Float], share: Double)
    /// Rows (the keys) that take the values of rows (in the same place) of an adapter's tensor.
    case rows([Int: Int], AdapterTensor)
    /// Changes of parts of the rows, in their order.
    case blocks([Block])
    /// One after the other.
    indirect case sequence([TensorChange])

    /// A change of some rows, which it counts from 0 on.
    struct Block: Sendable {
        let rows: Range<Int>
        let change: TensorChange
    }

    /// Changes rows `rows`, which lie at `weights`, [rows.count, width].
    ///
    /// - Parameter before: the same rows, which stay as they are.
    func apply(to weights: UnsafeMutablePointer<Float>, before: UnsafePointer<Float>, rows: Range<Int>, width: Int) {
        switch self {
        case .blocks(let blocks):
            for block in blocks.clamped(to: rows) {
                let place = (block.rows.lowerBound - rows.lowerBound) * width
                block.change.apply(to: weights + place, before: before + place, rows: block.localRows, width: width)
            }
            return
        case .sequence(let changes):
            for change in changes { change.apply(to: weights, before: before, rows: rows, width: width) }
            return
        default: makeUpdate(to: weights, rows: rows, width: width)
        }
        guard case .rescaled(_, let magnitude, let share) = self else {
            if case .rescaledColumns(_, let factors, let share) = self {
                Self.rescale(weights, before, by: factors, share, rows: rows.count, width: width)
            }
            return
        }
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
        switch self {
        case .blocks(let blocks):
            for block in blocks.clamped(to: rows) {
                let place = (block.rows.lowerBound - rows.lowerBound) * width
                block.change.apply(
                    to: weights + place, before: before + place, rows: block.localRows, width: width,
                    scratch: UnsafeMutableBufferPointer(rebasing: scratch[..<(block.rows.count * width)]))
            }
            return
        case .sequence(let changes):
            for change in changes {
                change.apply(to: weights, before: before, rows: rows, width: width, scratch: scratch)
            }
            return
        case .rows(let places, let tensor):
            for (place, row) in rows.enumerated() {
                guard let source = places[row] else { continue }
                tensor.copyRows(source..<source + 1, to: scratch.baseAddress!)
                for column in 0..<width { weights[place * width + column] = Double(scratch[column]) }
            }
            return
        default: break
        }
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
        for index in scratch.indices where scratch[index] != 0 { weights[index] += Double(scratch[index]) }
        if case .rescaledColumns(_, let factors, let share) = self {
            Self.rescale(weights, before, by: factors, share, rows: rows.count, width: width)
        }
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
        case .rescaledColumns(let low, let factors, let share):
            .rescaledColumns(reordered(low), factors: factors, share: share)
        case .rows, .blocks, .sequence: preconditionFailure("parts of tensors whose rows are reordered are refused")
        }
    }

    /// Adds rows `rows` of what is added to `weights`, [rows.count, width], or puts what replaces them there.
    private func makeUpdate(to weights: UnsafeMutablePointer<Float>, rows: Range<Int>, width: Int) {
        switch self {
        case .added(let low), .rescaled(let low, _, _), .rescaledColumns(let low, _, _):
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
        case .rows(let places, let tensor):
            for (place, row) in rows.enumerated() {
                if let source = places[row] { tensor.copyRows(source..<source + 1, to: weights + place * width) }
            }
        case .blocks, .sequence: preconditionFailure("were taken apart")
        }
    }

    /// Multiplies columns, or goes `share` of the way from `before` to that.
    private static func rescale<Number: BinaryFloatingPoint>(
        _ weights: UnsafeMutablePointer<Number>, _ before: UnsafePointer<Number>, by factors: [Float], _ share: Double,
        rows: Int, width: Int
    ) {
        for index in 0..<rows * width {
            let scaled = Number(factors[index % width]) * weights[index]
            guard share != 1 else {
                weights[index] = scaled
                continue
            }
            let base = Double(before[index])
            weights[index] = Number(base + share * (Double(scaled) - base))
        }
    }

    /// m / n of a row; NaN, which is refused later, for a norm that is beyond the type.
    private static func ratio<Number: BinaryFloatingPoint>(_ magnitude: Number, _ norm: Number) -> Number {
        norm == 0 ? 1 : norm.isFinite ? magnitude / norm : .nan
    }
}

extension TensorChange {
    /// All of `blocks` of a tensor with so many rows: those of the same rows added up, as changes of the whole where they
    /// are of the whole; nil for none.
    static func sum(of blocks: [Block], rowCount: Int) -> TensorChange? {
        var order: [Range<Int>] = []
        var changes: [Range<Int>: [TensorChange]] = [:]
        for block in blocks {
            if changes[block.rows] == nil { order.append(block.rows) }
            changes[block.rows, default: []].append(block.change)
        }
        let sums = order.sorted { $0.lowerBound < $1.lowerBound }.map { rows in
            Block(rows: rows, change: sum(of: changes[rows] ?? []))
        }
        guard let first = sums.first else { return nil }
        return sums.count == 1 && first.rows == 0..<rowCount ? first.change : .blocks(sums)
    }

    /// Changes of the same rows, at least one; all of them are additions where there are several.
    private static func sum(of changes: [TensorChange]) -> TensorChange {
        let low = changes.compactMap { change -> LowRankChange? in
            if case .added(let low) = change { low } else { nil }
        }
        return low.count == changes.count ? .added(.sum(of: low)) : changes[0]
    }

    /// Additions to `rows` in their order, with the rows where each begins to count; nil where the change is more than
    /// that, or two of them overlap.
    func sums(in rows: Range<Int>) -> [(rows: Range<Int>, start: Int, change: LowRankChange)]? {
        let blocks: [(rows: Range<Int>, start: Int, change: TensorChange)]
        switch self {
        case .added: blocks = [(rows, 0, self)]
        case .blocks(let all): blocks = all.clamped(to: rows).map { ($0.rows, $0.start, $0.change) }
        default: return nil
        }
        var sums: [(rows: Range<Int>, start: Int, change: LowRankChange)] = []
        for block in blocks {
            guard case .added(let low) = block.change, low.quotient == nil,
                sums.last.map({ $0.rows.upperBound <= block.rows.lowerBound }) ?? true
            else { return nil }
            sums.append((block.rows, block.start, low))
        }
        return sums
    }
}

extension [TensorChange.Block] {
    /// A block's part of some rows.
    struct Part {
        /// The rows of the tensor.
        let rows: Range<Int>
        /// The row of the tensor that is the block's first.
        let start: Int
        let change: TensorChange
        /// The rows as the block counts them.
        var localRows: Range<Int> { rows.lowerBound - start..<rows.upperBound - start }
    }

    /// The parts of the blocks that lie in `rows`.
    func clamped(to rows: Range<Int>) -> [Part] {
        compactMap { block in
            let part = block.rows.clamped(to: rows)
            return part.isEmpty ? nil : Part(rows: part, start: block.rows.lowerBound, change: block.change)
        }
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
