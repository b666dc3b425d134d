import CheckpointIO

/// What an adapter, every gate open or with what stands for its gates, makes of one module's weight W,
/// [outputSize, inputSize], row-major.
package enum WeightChange: Sendable {
    /// W + s B diag(e) C A, and the bias b + `bias` where there is one; see `LowRankChange`.
    case added(LowRankChange)
    /// W + share ((m / n) (W + s B A) - W), n the norms of the rows of W + s B A (DoRA); m is [outputSize]. The basis in
    /// which a map of it would be fitted is (y_o, z) by rows o, y = W x without the bias (NUMERICS, "Merging a gated
    /// adapter"); there is no such map yet.
    case rescaled(LowRankChange, magnitude: [Float], share: Double)
    /// W with its rows or columns scaled.
    case scaled(ScaledChange)
    /// M(x) is no linear function of x, so no weight holds it; why, as the end of a sentence.
    case none(reason: String)

    /// The factor on the update, beside a map.
    package var share: Double {
        switch self {
        case .added(let low): low.share
        case .rescaled(_, _, let share): share
        case .scaled(let change): change.share
        case .none: 1
        }
    }

    /// The change that `factor` times the update makes.
    package func multiplied(by factor: Double) -> WeightChange {
        switch self {
        case .added(var low):
            low.share *= factor
            return .added(low)
        case .rescaled(let low, let magnitude, let share):
            return .rescaled(low, magnitude: magnitude, share: share * factor)
        case .scaled(var change):
            change.share *= factor
            return .scaled(change)
        case .none: return self
        }
    }
}

extension WeightChange {
    /// The norms n of rows of floats, [rows, width], as `.rescaled` means them.
    ///
    /// Squares are added up in float in eight lanes, the lanes in order, and then what is left of the row: bit for bit
    /// what PyTorch 2.15 computes on x86, so that a magnitude of its making that was not trained divides to exactly 1
    /// and a weight that peft merged is the same here. In rows of 4096 random numbers the relative error was at most
    /// 3e-7.
    package static func rowNorms(
        _ values: UnsafePointer<Float>, into norms: UnsafeMutablePointer<Float>, rows: Int, width: Int
    ) {
        let whole = width - width % 8
        for row in 0..<rows {
            let start = values + row * width
            var lanes = SIMD8<Float>.zero
            for column in stride(from: 0, to: whole, by: 8) {
                let part = UnsafeRawPointer(start + column).loadUnaligned(as: SIMD8<Float>.self)
                lanes += part * part
            }
            var sum = lanes[0]
            for lane in 1..<8 { sum += lanes[lane] }
            for column in whole..<width { sum += start[column] * start[column] }
            norms[row] = sum.squareRoot()
        }
    }
}

/// The low-rank update of one module, M(x) = share s B diag(e) C z with z = A x.
///
/// z, A's product alone, without e, scaling or dropout, is the basis in which statistics are taken (`innerActivations`,
/// `ModuleStatistics.innerSums`) and in which C is meant, for every method:
///
/// | method | A | diag(e) | B | s |
/// |---|---|---|---|---|
/// | LoRA | A | - | B | scaling |
/// | AdaLoRA | A | diag(E) | B | alpha / (init_r + 1e-5) |
/// | VeRA | A', cut to the layer | diag(d) | diag(b) B' | 1 |
///
/// C outside of E or d would be another map: it cannot be carried over, since E may hold zeros.
package struct LowRankChange: Sendable {
    /// A: [rank, inputSize], row-major.
    package var a: [Float]
    /// e, [rank]; nil for ones.
    package var inner: [Float]?
    /// C, [rank, rank], row-major; nil for the identity.
    package var map: [Double]?
    /// B: [outputSize, rank], row-major.
    package var b: [Float]
    /// Columns of B.
    package var rank: Int
    /// s.
    package var scale: Float
    /// The factor on the whole update, the bias included.
    package var share = 1.0
    /// `scale` as the quotient as which its method states it, where that is not a whole fraction: a merge multiplies
    /// and then divides, so that it rounds as peft does.
    package var quotient: (numerator: Float, divisor: Float)?
    /// What is added to the layer's bias, [outputSize], s included; nil for nothing.
    package var bias: [Float]?

    /// A change of these factors.
    package init(
        a: [Float], inner: [Float]? = nil, b: [Float], rank: Int, scale: Float,
        quotient: (numerator: Float, divisor: Float)? = nil, bias: [Float]? = nil
    ) {
        self.a = a
        self.inner = inner
        self.b = b
        self.rank = rank
        self.scale = scale
        self.quotient = quotient
        self.bias = bias
    }

    /// The same change as s B A alone: diag(e) C A in the place of A, the share in s and in the bias. Without a map each
    /// number of A is multiplied in float, as peft does it; with one its rows are added up in double.
    package var folded: LowRankChange {
        var folded = self
        let width = rank == 0 ? 0 : a.count / rank
        if let map { folded.a = Self.product(map, a, rank: rank, width: width) }
        if let inner {
            for (row, factor) in inner.enumerated() {
                for index in row * width..<(row + 1) * width { folded.a[index] *= factor }
            }
        }
        (folded.map, folded.inner) = (nil, nil)
        if share != 1 {
            folded.scale = Float(Double(scale) * share)
            folded.quotient = nil
            folded.bias = bias?.map { Float(Double($0) * share) }
            folded.share = 1
        }
        return folded
    }

    /// C A, [rank, width].
    private static func product(_ map: [Double], _ a: [Float], rank: Int, width: Int) -> [Float] {
        precondition(map.count == rank * rank, "a map of the change's rank")
        var result = [Float](repeating: 0, count: rank * width)
        var sums = [Double](repeating: 0, count: width)
        for row in 0..<rank {
            for column in 0..<width { sums[column] = 0 }
            for inner in 0..<rank where map[row * rank + inner] != 0 {
                let factor = map[row * rank + inner]
                for column in 0..<width { sums[column] += factor * Double(a[inner * width + column]) }
            }
            for column in 0..<width { result[row * width + column] = Float(sums[column]) }
        }
        return result
    }
}

/// W + share (l - 1) W, with l by rows or columns: W scaled by l where the share is 1. A bias stays.
package struct ScaledChange: Sendable {
    /// What l belongs to.
    package enum Axis: Sendable {
        /// Rows of W: the layer's output.
        case rows
        /// Columns of W: the layer's input.
        case columns
    }

    /// l, one for each row or column.
    package var factors: [Float]
    /// Which.
    package let axis: Axis
    /// The factor on the update.
    package var share = 1.0

    /// A change of these factors.
    package init(factors: [Float], axis: Axis) {
        self.factors = factors
        self.axis = axis
    }
}
