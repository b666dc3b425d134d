import CKernels
import Compute
import Models
import TensorCore

/// The sizes of a bottleneck.
struct BottleneckShape {
    /// Columns of A.
    var inputSize: Int
    /// Rows of B.
    var outputSize: Int
    /// Rows of A.
    var innerSize: Int
    /// Whether B has a last column c that meets a constant 1.
    var hasOutputBias = false
}

/// What the methods with a narrow middle share:
///
///     M(x) = B f(A dropout(x) + a) + c,   A [inner, inputSize], B [outputSize, inner]
///
/// f and the biases may be absent. |M(x)| is taken from the narrow z = f(A x + a), a 1 behind it where there is a c:
/// |[B c] z| = |R z| with [B c] = Q R, R from Householder reflections in double precision. A skipped token so costs no
/// product as wide as the layer.
///
/// Owns A and B in the computation's type. The method that it works for calls `setOuter` and `prepare`.
package final class Bottleneck {
    /// Rows of A.
    let innerSize: Int
    /// f, if any.
    let activation: Activation?
    /// Whether B has a last column c that meets a constant 1.
    let hasOutputBias: Bool
    /// Probability that an element of x is left out in training.
    let dropoutRate: Float
    let context: ComputeContext

    /// A in the computation's type, [inner, inputSize].
    let inner: Tensor
    /// [B c] with every factor in it, F32 [outputSize, width]; see `setOuter`.
    let outer: Tensor
    /// The same in the computation's type.
    let computeOuter: Tensor
    /// R of `outer`, [width, width] F32, where `hasTriangle`.
    private let triangle: Tensor
    private var hasTriangle = false
    /// Whether backward passes make gradients of A, B and the biases.
    var collectsGradients = true
    /// a, [inner], if any.
    var innerBias: Tensor?

    /// A bottleneck whose A is `inner`, shared with others, or its own copy.
    init(
        _ shape: BottleneckShape, activation: Activation? = nil, dropoutRate: Float, inner: Tensor? = nil,
        _ context: ComputeContext
    ) {
        innerSize = shape.innerSize
        self.activation = activation
        hasOutputBias = shape.hasOutputBias
        self.dropoutRate = dropoutRate
        self.context = context
        let width = innerSize + (hasOutputBias ? 1 : 0)
        self.inner = inner ?? context.tensor([innerSize, shape.inputSize])
        outer = context.tensor([shape.outputSize, width], .f32)
        computeOuter = context.tensor([shape.outputSize, width])
        triangle = context.tensor([width, width], .f32)
    }

    /// Columns of [B c].
    var width: Int { outer.columns }

    /// Doubles that `prepare` needs for itself.
    var preparationScratchCount: Int { outer.count }

    /// A start with an update of 0: A uniform in +-1/sqrt(inputSize) (He et al. 2015 with a = sqrt(5), PyTorch's
    /// default for a linear layer), [size, inputSize], and B zero, [outputSize, size], under keys with these ends.
    static func initialFactors(
        _ module: LinearModule, size: Int, inner: String, outer: String, _ stream: RandomStream
    ) -> [AdapterTensor] {
        var stream = stream
        let bound = 1 / Double(module.inputSize).squareRoot()
        return [
            AdapterTensor(
                PEFTNames.key(module.path, inner), [size, module.inputSize],
                stream.uniforms(size * module.inputSize, bound: bound)
            ),
            AdapterTensor(
                PEFTNames.key(module.path, outer), [module.outputSize, size],
                [Float](repeating: 0, count: module.outputSize * size)
            ),
        ]
    }

    /// Sets [B c]: B_ok = rowFactor(o) source_ok columns_k, c_o = rowFactor(o) bias_o.
    ///
    /// - Parameters:
    ///   - source: F32, whose first [outputSize, inner] are taken.
    ///   - columns: F32 [inner]; nil for ones.
    ///   - bias: F32 [outputSize]; given where there is a c.
    ///   - rowFactor: of row o, from 0; called once a row, in order.
    func setOuter(
        from source: Tensor, columns: Tensor? = nil, bias: Tensor? = nil, rowFactor: (_ row: Int) -> Float
    ) {
        precondition((bias != nil) == hasOutputBias && source.columns == innerSize)
        for row in 0..<outer.rows {
            let factor = rowFactor(row)
            let (target, values) = (outer.floats + row * width, source.floats + row * innerSize)
            if let columns = columns?.floats {
                for column in 0..<innerSize { target[column] = factor * values[column] * columns[column] }
            } else {
                for column in 0..<innerSize { target[column] = factor * values[column] }
            }
            if let bias { target[innerSize] = factor * bias.floats[row] }
        }
    }

    /// Adds the gradient of [B c], scale (dl/dh)' z as `write` gives it (see `BottleneckGradients`), to that of B and,
    /// where there is a c, to that of the bias.
    func addOuterGradient(
        to gradient: Tensor, bias: Tensor?, scale: Float,
        _ write: (_ target: Tensor, _ accumulates: Bool, _ scale: Float) -> Void
    ) {
        guard let bias else { return write(gradient, true, scale) }
        let both = context.tensor(outer.shape, .f32)
        write(both, false, scale)
        for row in 0..<both.rows {
            let (target, values) = (gradient.floats + row * innerSize, both.floats + row * width)
            for column in 0..<innerSize { target[column] += values[column] }
            bias.floats[row] += values[innerSize]
        }
        withExtendedLifetime(both) {}
    }

    /// Converts A, F32 [inner, inputSize], where it is given, and `outer`, and decomposes that where norms are wanted.
    func prepare(inner a: Tensor?, scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        let type = inner.dtype.kernelCode
        if let a { tspeft_convert(a.address, DType.f32.kernelCode, inner.address, type, a.count) }
        tspeft_convert(outer.address, DType.f32.kernelCode, computeOuter.address, type, outer.count)
        hasTriangle = wantsNorms
        if wantsNorms {
            tspeft_householder_r(outer.floats, outer.rows, width, triangle.floats, scratch)
        }
    }

    /// R, decomposed now where `prepare` did not.
    func decomposed() -> Tensor {
        if !hasTriangle {
            // Doubles in a vector of floats, as behind the rows of a matrix there would be room that is cleared.
            let scratch = context.tensor([max(16, 2 * preparationScratchCount)], .f32)
            withExtendedLifetime(scratch) {
                tspeft_householder_r(
                    outer.floats, outer.rows, width, triangle.floats,
                    scratch.address.assumingMemoryBound(to: Double.self))
            }
            hasTriangle = true
        }
        return triangle
    }
}

/// Takes the gradients that a bottleneck's backward pass finds.
package protocol BottleneckGradients: AnyObject {
    /// The gradient of A is added here, F32 [inner, inputSize]; nil where A is frozen.
    var innerGradient: Tensor? { get }
    /// The gradient of a is added here; nil where there is none.
    var innerBiasGradient: Tensor? { get }
    /// Adds the gradient of [B c]. `write(target, accumulates, scale)` puts scale (dl/dh)' z over the active tokens,
    /// [outputSize, width], into a tensor.
    func addOuterGradient(_ write: (_ target: Tensor, _ accumulates: Bool, _ scale: Float) -> Void)
}

/// A method whose update goes through one bottleneck. It says what [B c] is; the rest is the same for all.
package protocol BottleneckMethod: AdapterMethod, BottleneckGradients {
    /// The arithmetic.
    var bottleneck: Bottleneck { get }
}

extension BottleneckMethod {
    package var collectsGradients: Bool {
        get { bottleneck.collectsGradients }
        set { bottleneck.collectsGradients = newValue }
    }

    package var preparationScratchCount: Int { bottleneck.preparationScratchCount }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        BottleneckUpdate(bottleneck, self, input: input, dropoutKey: dropoutKey)
    }

    package var innerBiasGradient: Tensor? { nil }
}

/// One batch through a `Bottleneck`.
final class BottleneckUpdate: AdapterUpdate {
    let bottleneck: Bottleneck
    /// The key of the dropout mask; nil for no dropout.
    let dropoutKey: UInt64?
    private let owner: any BottleneckGradients
    /// A dropout(x) + a, [tokens, inner] F32, where f needs it for its derivative.
    private let beforeActivation: Tensor?
    /// z, [tokens, width] F32.
    let z: Tensor
    /// z in the computation's type.
    let computeZ: Tensor

    private var context: ComputeContext { bottleneck.context }

    init(_ bottleneck: Bottleneck, _ owner: any BottleneckGradients, input: Tensor, dropoutKey: UInt64?) {
        let context = bottleneck.context
        self.bottleneck = bottleneck
        self.owner = owner
        self.dropoutKey = bottleneck.dropoutRate > 0 ? dropoutKey : nil
        var x = input
        if let key = self.dropoutKey {
            x = context.tensor(input.shape, input.dtype)
            context.dropout(input, into: x, key: key, rate: bottleneck.dropoutRate)
        }
        let linear = context.tensor([input.rows, bottleneck.innerSize], .f32)
        context.products.multiplyRows(
            x, bottleneck.inner, .transposed, into: linear, n: bottleneck.innerSize, k: input.columns)
        if let bias = bottleneck.innerBias { context.addToRows(bias, of: linear) }
        var narrow = linear
        if let activation = bottleneck.activation {
            narrow = context.activate(linear, activation)
            beforeActivation = linear
        } else {
            beforeActivation = nil
        }
        z = bottleneck.hasOutputBias ? context.appendingOnes(narrow) : narrow
        if input.dtype == .f32 {
            computeZ = z
        } else {
            computeZ = context.tensor(z.shape, input.dtype)
            context.convert(z, into: computeZ)
        }
    }

    var innerActivations: Tensor? { bottleneck.activation == nil && !bottleneck.hasOutputBias ? z : nil }

    func norms() -> Tensor {
        let rotated = context.tensor(z.shape, .f32)
        context.products.multiplyRows(
            z, bottleneck.decomposed(), .transposed, into: rotated, n: bottleneck.width, k: bottleneck.width)
        return context.rowNorms(rotated)
    }

    func apply(to output: Tensor, _ active: ActiveTokens) {
        switch active {
        case .all:
            context.products.multiplyRows(
                computeZ, bottleneck.computeOuter, .transposed, into: output, n: output.columns, k: bottleneck.width,
                accumulates: true)
        case .rows(let rows):
            if rows.isEmpty { return }
            let update = context.tensor([rows.count, output.columns], output.dtype)
            context.products.multiplyRows(
                context.gatherRows(computeZ, rows), bottleneck.computeOuter, .transposed, into: update,
                n: output.columns, k: bottleneck.width)
            context.scatterAddRows(update, rows, to: output)
        }
    }

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        if case .rows(let rows) = active, rows.isEmpty, !wantsMu { return nil }
        // v = [B c]' dl/dh for every token: mu = <z, v>, and of active tokens v is dl/dz.
        let v = context.tensor(z.shape, .f32)
        context.products.multiplyRows(
            gradient, bottleneck.computeOuter, .plain, into: v, n: bottleneck.width, k: gradient.columns)
        let mu = wantsMu ? context.rowDots(z, v) : nil
        addGradients(gradient, v, input, active)
        return mu
    }

    /// Adds to the gradients of A, a, [B c] and x, from the active tokens.
    ///
    /// - Parameters:
    ///   - gradient: dl/dh of all tokens, [tokens, outputSize].
    ///   - v: dl/dz of all tokens, [tokens, width] F32.
    func addGradients(_ gradient: Tensor, _ v: Tensor, _ input: Variable, _ active: ActiveTokens) {
        guard bottleneck.collectsGradients || input.needsGradient else { return }
        var activeGradient = gradient
        var activeZ = computeZ
        var activeV = v
        var activeX = input.value
        var activeBefore = beforeActivation
        if case .rows(let rows) = active {
            if rows.isEmpty { return }
            activeGradient = context.gatherRows(gradient, rows)
            activeZ = context.gatherRows(computeZ, rows)
            activeV = context.gatherRows(v, rows)
            activeX = context.gatherRows(input.value, rows)
            activeBefore = beforeActivation.map { context.gatherRows($0, rows) }
        }
        // Rows behind the last are zero on the side of z and v, so tokens can be rounded up.
        let products = context.products
        let tokens = products.roundedRows(activeGradient.rows, activeGradient, activeZ)
        let collects = bottleneck.collectsGradients
        if collects {
            owner.addOuterGradient { target, accumulates, scale in
                products.multiply(
                    activeGradient, activeZ, into: target,
                    MatrixProducts.Form(
                        m: target.rows, n: target.columns, k: tokens, left: .transposed, accumulates: accumulates,
                        scale: scale))
            }
        }
        if bottleneck.hasOutputBias { activeV = context.firstColumns(bottleneck.innerSize, of: activeV) }
        if let activation = bottleneck.activation, let activeBefore {
            // Not in place: without a gather this is v itself.
            activeV = context.activationGradient(activeBefore, activation, activeV)
        }
        if collects, let target = owner.innerBiasGradient { context.addRowSum(of: activeV, to: target) }
        if activeX.dtype != .f32 {
            let rounded = context.tensor(activeV.shape, activeX.dtype)
            context.convert(activeV, into: rounded)
            activeV = rounded
        }
        if collects, let target = owner.innerGradient {
            if let dropoutKey {
                let dropped = context.tensor(activeX.shape, activeX.dtype)
                maskRows(activeX, into: dropped, active, dropoutKey)
                activeX = dropped
            }
            products.multiply(
                activeV, activeX, into: target,
                MatrixProducts.Form(
                    m: target.rows, n: target.columns, k: products.roundedRows(activeV.rows, activeV, activeX),
                    left: .transposed, accumulates: true))
        }
        if input.needsGradient { addInputGradient(activeV, input, active) }
    }

    /// dx_i += dropout mask * A' v_i for the active tokens.
    private func addInputGradient(_ activeV: Tensor, _ input: Variable, _ active: ActiveTokens) {
        let inputSize = input.value.columns
        input.addGradient(context) { dx, accumulates in
            if active == .all, dropoutKey == nil {
                context.products.multiplyRows(
                    activeV, bottleneck.inner, .plain, into: dx, n: inputSize, k: bottleneck.innerSize,
                    accumulates: accumulates)
                return
            }
            if !accumulates { dx.clear() }
            let part = context.tensor([activeV.rows, inputSize], dx.dtype)
            context.products.multiplyRows(
                activeV, bottleneck.inner, .plain, into: part, n: inputSize, k: bottleneck.innerSize)
            addMasked(part, to: dx, active)
        }
    }

    /// dx_i += dropout mask * part_i for the active tokens, whose rows `part` holds.
    func addMasked(_ part: Tensor, to dx: Tensor, _ active: ActiveTokens) {
        if let dropoutKey { maskRows(part, into: part, active, dropoutKey) }
        switch active {
        case .all: context.addRows(part, to: dx)
        case .rows(let rows): context.scatterAddRows(part, rows, to: dx)
        }
    }

    /// Dropout of rows that were gathered: each row has the mask of the token that it belongs to.
    private func maskRows(_ source: Tensor, into target: Tensor, _ active: ActiveTokens, _ key: UInt64) {
        guard case .rows(let rows) = active else {
            context.dropout(source, into: target, key: key, rate: bottleneck.dropoutRate)
            return
        }
        context.dropoutRows(source, rows, into: target, key: key, rate: bottleneck.dropoutRate)
    }
}
