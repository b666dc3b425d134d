import CKernels
import Compute
import TensorCore

/// Low-rank adaptation: M(x) = scaling B A dropout(x) (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
/// arXiv 2106.09685). scaling is alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732); A is [rank, inputSize], B
/// is [outputSize, rank].
///
/// |M(x)| is taken from z = A x, which is only `rank` long: |scaling B z| = |R z| with scaling B = Q R, R from Householder reflections
/// in double precision. A skipped token so costs no product as wide as the layer.
package final class LoRA: AdapterMethod {
    /// alpha / r or alpha / sqrt(r).
    package let scaling: Float
    /// Probability that an element of x is left out in training.
    package let dropoutRate: Float
    fileprivate let a: AdapterParameter
    fileprivate let b: AdapterParameter
    fileprivate let context: ComputeContext

    /// A in the computation's type, [rank, inputSize].
    fileprivate let computeA: Tensor
    /// scaling B in the computation's type, [outputSize, rank].
    fileprivate let computeB: Tensor
    /// R of scaling B, [rank, rank] F32.
    fileprivate let triangle: Tensor
    private let scaledB: Tensor

    package var parameters: [AdapterParameter] { [a, b] }

    /// An adapter with the given parameters.
    package init(
        a: AdapterParameter, b: AdapterParameter, scaling: Float, dropoutRate: Float, _ context: ComputeContext
    ) {
        precondition(a.value.rows == b.value.columns, "A and B have one rank")
        self.a = a
        self.b = b
        self.scaling = scaling
        self.dropoutRate = dropoutRate
        self.context = context
        computeA = context.tensor(a.value.shape)
        computeB = context.tensor(b.value.shape)
        scaledB = context.tensor(b.value.shape, .f32)
        triangle = context.tensor([b.value.columns, b.value.columns], .f32)
    }

    /// r.
    package var rank: Int { a.value.rows }

    package var preparationScratchCount: Int { b.value.count }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        let type = computeA.dtype.kernelCode
        tspeft_convert(a.value.address, DType.f32.kernelCode, computeA.address, type, a.value.count)
        for index in 0..<b.value.count { scaledB.floats[index] = scaling * b.value.floats[index] }
        tspeft_convert(scaledB.address, DType.f32.kernelCode, computeB.address, type, scaledB.count)
        if wantsNorms {
            tspeft_householder_r(scaledB.floats, scaledB.rows, rank, triangle.floats, scratch)
        }
    }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        LoRAUpdate(self, input: input, dropoutKey: dropoutRate > 0 ? dropoutKey : nil)
    }
}

/// One batch through a `LoRA`.
private final class LoRAUpdate: AdapterUpdate {
    private let lora: LoRA
    private let dropoutKey: UInt64?
    /// z = A dropout(x), [tokens, rank] F32.
    private let z: Tensor
    /// z in the computation's type.
    private let computeZ: Tensor

    private var context: ComputeContext { lora.context }

    init(_ lora: LoRA, input: Tensor, dropoutKey: UInt64?) {
        let context = lora.context
        self.lora = lora
        self.dropoutKey = dropoutKey
        var x = input
        if let dropoutKey {
            x = context.tensor(input.shape, input.dtype)
            context.dropout(input, into: x, key: dropoutKey, rate: lora.dropoutRate)
        }
        z = context.tensor([input.rows, lora.rank], .f32)
        context.products.multiplyRows(
            x, lora.computeA, .transposed, into: z, n: lora.rank, k: input.columns)
        if input.dtype == .f32 {
            computeZ = z
        } else {
            computeZ = context.tensor(z.shape, input.dtype)
            context.convert(z, into: computeZ)
        }
    }

    var innerActivations: Tensor? { z }

    func norms() -> Tensor {
        let rotated = context.tensor(z.shape, .f32)
        context.products.multiplyRows(
            z, lora.triangle, .transposed, into: rotated, n: lora.rank, k: lora.rank)
        return context.rowNorms(rotated)
    }

    func apply(to output: Tensor, _ active: ActiveTokens) {
        switch active {
        case .all:
            context.products.multiplyRows(
                computeZ, lora.computeB, .transposed, into: output, n: output.columns, k: lora.rank,
                accumulates: true)
        case .rows(let rows):
            if rows.isEmpty { return }
            let update = context.tensor([rows.count, output.columns], output.dtype)
            context.products.multiplyRows(
                context.gatherRows(computeZ, rows), lora.computeB, .transposed, into: update, n: output.columns,
                k: lora.rank)
            context.scatterAddRows(update, rows, to: output)
        }
    }

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        let (rank, outputSize, inputSize) = (lora.rank, gradient.columns, input.value.columns)
        // v = scaling B' dl/dh for every token: mu = <z, v>, and of active tokens v is dl/dz.
        let v = context.tensor(z.shape, .f32)
        if case .rows(let rows) = active, rows.isEmpty, !wantsMu { return nil }
        context.products.multiplyRows(gradient, lora.computeB, .plain, into: v, n: rank, k: outputSize)
        let mu = wantsMu ? context.rowDots(z, v) : nil
        var activeGradient = gradient
        var activeZ = computeZ
        var activeV = v
        var activeX = input.value
        if case .rows(let rows) = active {
            if rows.isEmpty { return mu }
            activeGradient = context.gatherRows(gradient, rows)
            activeZ = context.gatherRows(computeZ, rows)
            activeV = context.gatherRows(v, rows)
            activeX = context.gatherRows(input.value, rows)
        }
        if activeX.dtype != .f32 {
            let rounded = context.tensor(activeV.shape, activeX.dtype)
            context.convert(activeV, into: rounded)
            activeV = rounded
        }
        if let dropoutKey {
            let dropped = context.tensor(activeX.shape, activeX.dtype)
            maskRows(activeX, into: dropped, active, dropoutKey)
            activeX = dropped
        }
        // Rows behind the last are zero on the side of z and v, so tokens can be rounded up.
        let tokens = context.products.roundedRows(activeGradient.rows, activeGradient, activeZ, activeV, activeX)
        context.products.multiply(
            activeGradient, .transposed, activeZ, .plain, into: lora.b.gradient, m: outputSize, n: rank, k: tokens,
            accumulates: true, scale: lora.scaling)
        context.products.multiply(
            activeV, .transposed, activeX, .plain, into: lora.a.gradient, m: rank, n: inputSize, k: tokens,
            accumulates: true)
        if input.needsGradient { addInputGradient(activeV, input, active) }
        return mu
    }

    /// dx_i += dropout mask * A' v_i for the active tokens.
    private func addInputGradient(_ activeV: Tensor, _ input: Variable, _ active: ActiveTokens) {
        let inputSize = input.value.columns
        input.addGradient(context) { dx, accumulates in
            if active == .all, dropoutKey == nil {
                context.products.multiplyRows(
                    activeV, lora.computeA, .plain, into: dx, n: inputSize, k: lora.rank, accumulates: accumulates)
                return
            }
            if !accumulates { dx.clear() }
            let part = context.tensor([activeV.rows, inputSize], dx.dtype)
            context.products.multiplyRows(activeV, lora.computeA, .plain, into: part, n: inputSize, k: lora.rank)
            if let dropoutKey { maskRows(part, into: part, active, dropoutKey) }
            switch active {
            case .all: context.scatterAddRows(part, (0..<Int32(part.rows)).map { $0 }, to: dx)
            case .rows(let rows): context.scatterAddRows(part, rows, to: dx)
            }
        }
    }

    /// Dropout of rows that were gathered: each row has the mask of the token that it belongs to.
    private func maskRows(_ source: Tensor, into target: Tensor, _ active: ActiveTokens, _ key: UInt64) {
        guard case .rows(let rows) = active else {
            context.dropout(source, into: target, key: key, rate: lora.dropoutRate)
            return
        }
        let (width, bytes) = (source.columns, source.rowByteCount)
        context.parallel(rows.count, grain: 16) { range in
            for row in range {
                tspeft_dropout(
                    source.address + row * bytes, target.address + row * bytes, source.dtype.kernelCode, width,
                    UInt64(rows[row]) * UInt64(width), key, lora.dropoutRate)
            }
        }
    }
}
