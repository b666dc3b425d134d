import Compute
import TensorCore

/// A linear layer of a head, in F32; what neither the checkpoint nor an adapter has is missing.
final class HeadLinear {
    private let module: String
    private let hasBias: Bool
    private var weight: TrainableWeight?
    private var bias: TrainableWeight?

    /// The layer of a module, as far as the checkpoint has it.
    init(_ weights: WeightLoader, _ module: String, hasBias: Bool = true) throws {
        self.module = module
        self.hasBias = hasBias
        weight = try weights.headTensor(CheckpointNames.weight(of: module))
        bias = hasBias ? try weights.headTensor(CheckpointNames.bias(of: module)) : nil
    }

    /// Takes a tensor in the place of one of the layer's; false where it is none of them.
    func take(_ tensor: String, _ value: TrainableWeight) -> Bool {
        switch tensor {
        case CheckpointNames.weight(of: module): weight = value
        case CheckpointNames.bias(of: module): bias = value
        default: return false
        }
        return true
    }

    /// x W' + b for x [sequences, inputSize] F32; throws `ModelError.missingHead`, in which `file` stands.
    func forward(_ x: Variable, on tape: Tape, file: String) throws(ModelError) -> Variable {
        guard let weight else { throw .missingHead(file: file, tensor: CheckpointNames.weight(of: module)) }
        if hasBias, bias == nil { throw .missingHead(file: file, tensor: CheckpointNames.bias(of: module)) }
        return tape.linear(x, weight: weight, bias: bias)
    }
}

/// The norm of a head, in F32: (x - mean) / deviation times a weight.
final class HeadNorm {
    private let name: String
    private let epsilon: Float
    private let ones: Tensor
    private var weight: TrainableWeight?

    /// The norm of a module of this width, as far as the checkpoint has it.
    init(_ weights: WeightLoader, _ module: String, width: Int) throws {
        name = CheckpointNames.weight(of: module)
        epsilon = weights.configuration.rmsNormEpsilon
        weight = try weights.headTensor(name)
        ones = weights.context.tensor([width], .f32)
        for index in 0..<width { ones.floats[index] = 1 }
    }

    /// As `HeadLinear.take`.
    func take(_ tensor: String, _ value: TrainableWeight) -> Bool {
        guard tensor == name else { return false }
        weight = value
        return true
    }

    /// The norm of the rows of x; throws `ModelError.missingHead`.
    func forward(_ x: Variable, on tape: Tape, file: String) throws(ModelError) -> Variable {
        guard let weight else { throw .missingHead(file: file, tensor: name) }
        let normed = tape.layerNorm(x, weight: ones, bias: nil, epsilon: epsilon, in: .f32)
        return tape.columnsScaled(normed, by: weight)
    }
}

/// Which hidden states a head reads of a sequence.
enum SequencePooling {
    /// The first token's.
    case first
    /// That of the last token that is not the padding token; that of the first where all are.
    case last(padding: Int?)
    /// The mean of all.
    case mean

    /// What it gives of each sequence, [sequences, hiddenSize] F32.
    func pooled(
        _ hidden: Variable, _ tokens: [Int32], _ layout: TokenLayout, on tape: Tape, file: String
    ) throws(ModelError) -> Variable {
        switch self {
        case .first: return tape.rows(of: hidden, layout.segments.map { Int32($0.queryStart) })
        case .mean:
            return tape.means(of: hidden, over: layout.segments.map { $0.queryStart..<$0.queryStart + $0.count })
        case .last(let padding):
            if padding == nil, layout.segments.count > 1 { throw .noPaddingToken(file: file) }
            let rows = layout.segments.map { segment in
                let run = segment.queryStart..<segment.queryStart + segment.count
                guard let padding else { return Int32(run.upperBound - 1) }
                return Int32(run.last { Int(tokens[$0]) != padding } ?? run.lowerBound)
            }
            return tape.rows(of: hidden, rows)
        }
    }
}

/// output(dropout(norm(f(dense(dropout(pooled)))))), of which all but pooling and output may be missing.
final class PooledHead: SequenceHead {
    /// Which hidden states are read.
    let pooling: SequencePooling
    /// Dropout before the dense layer.
    var firstDropout: HiddenDropout?
    /// The dense layer and its non-linearity.
    var dense: (layer: HeadLinear, activation: HiddenActivation)?
    /// A norm behind it.
    var norm: HeadNorm?
    /// Dropout before the output.
    var dropout: HiddenDropout?
    private let output: HeadLinear
    private let file: String

    /// A head that ends in `output`; `weights` tells the file for messages.
    init(_ weights: WeightLoader, pooling: SequencePooling, output: HeadLinear) {
        file = weights.checkpoint.checkpoint.path
        self.pooling = pooling
        self.output = output
    }

    func scores(
        _ hidden: Variable, _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass
    ) throws(ModelError) -> Variable {
        let tape = pass.tape
        var x = try pooling.pooled(hidden, tokens, layout, on: tape, file: file)
        if let firstDropout { x = firstDropout.forward(x, in: pass) }
        if let dense {
            x = tape.activated(try dense.layer.forward(x, on: tape, file: file), dense.activation)
        }
        if let norm { x = try norm.forward(x, on: tape, file: file) }
        if let dropout { x = dropout.forward(x, in: pass) }
        return try output.forward(x, on: tape, file: file)
    }

    func train(_ tensor: TensorSpecification, _ weight: TrainableWeight) {
        let isTaken =
            output.take(tensor.name, weight) || dense?.layer.take(tensor.name, weight) ?? false
            || norm?.take(tensor.name, weight) ?? false
        precondition(isTaken, "'\(tensor.name)' is no tensor of the head")
    }
}
