import Compute
import TensorCore

/// CLIP's vision tower, frozen: a transformer over the patches of a picture and a class token before them, all of which see
/// each other (Radford et al., arXiv 2103.00020; Dosovitskiy et al., arXiv 2010.11929).
///
/// Its rows are no tokens of the language model: no gate sees them.
struct CLIPTower {
    private let configuration: CLIPConfiguration
    /// [hiddenSize, 3 * patchSize * patchSize]: a convolution whose steps are as long as its kernel is a product.
    private let patches: FrozenLinear
    /// [hiddenSize], F32.
    private let classToken: Tensor
    /// [patches + 1, hiddenSize], F32, the class token's first.
    private let positions: Tensor
    private let firstNorm: LayerNorm
    private let layers: [CLIPLayer]

    /// The tower whose names in the checkpoint begin with `prefix`, as far as its first `layerCount` layers.
    init(
        _ weights: WeightLoader, _ configuration: CLIPConfiguration, layerCount: Int, prefix: String
    ) throws {
        self.configuration = configuration
        let context = weights.context
        let kernel = try weights.tensor(prefix + CheckpointNames.weight(of: CLIPConfiguration.patchEmbedding))
        let matrix = context.tensor([configuration.hiddenSize, kernel.count / configuration.hiddenSize])
        context.convert(kernel.reshaped(matrix.shape), into: matrix)
        patches = FrozenLinear(weight: matrix)
        classToken = try weights.tensor(prefix + CLIPConfiguration.classEmbedding)
        positions = try weights.tensor(prefix + CheckpointNames.weight(of: CLIPConfiguration.positionEmbedding))
            .reshaped([configuration.patchCount + 1, configuration.hiddenSize])
        firstNorm = try weights.layerNorm(prefix + CLIPConfiguration.firstNorm, configuration)
        layers = try (0..<layerCount).map {
            try CLIPLayer(weights, configuration, prefix: prefix + CLIPConfiguration.layer($0))
        }
    }

    /// The states of class token and patches behind the last layer, [pictures * (patches + 1), hiddenSize] F32, of pictures
    /// as values [3, side, side] each.
    func states(of images: ArraySlice<[Float]>, on tape: Tape) -> Variable {
        var stream = firstNorm.forward(embedded(images, on: tape), on: tape, in: .f32)
        let layout = TokenLayout(lengths: images.map { _ in configuration.patchCount + 1 })
        for layer in layers { stream = layer.forward(stream, layout, on: tape) }
        return stream
    }

    /// Class token and patches with their positions.
    private func embedded(_ images: ArraySlice<[Float]>, on tape: Tape) -> Variable {
        let (context, width, patchCount) = (tape.context, configuration.hiddenSize, configuration.patchCount)
        let found = tape.linear(Variable(pixels(images, context), needsGradient: false), patches).value
        let parts = context.tensor(found.shape, .f32)
        context.convert(found, into: parts)
        let stream = context.tensor([images.count * (patchCount + 1), width], .f32)
        for image in 0..<images.count {
            for place in 0...patchCount {
                let target = stream.floats + (image * (patchCount + 1) + place) * width
                let source = place == 0 ? classToken.floats : parts.floats + (image * patchCount + place - 1) * width
                let position = positions.floats + place * width
                for column in 0..<width { target[column] = source[column] + position[column] }
            }
        }
        return withExtendedLifetime((parts, classToken, positions)) { Variable(stream, needsGradient: false) }
    }

    /// The pixels of each patch in a row, red of all of them first: [pictures * patches, 3 * patchSize * patchSize].
    private func pixels(_ images: ArraySlice<[Float]>, _ context: ComputeContext) -> Tensor {
        let (side, size) = (configuration.imageSize, configuration.patchSize)
        let across = side / size
        let values = context.tensor([images.count * configuration.patchCount, 3 * size * size], .f32)
        var target = values.floats
        for image in images {
            image.withUnsafeBufferPointer { pixels in
                for patch in 0..<across * across {
                    let (top, left) = (patch / across * size, patch % across * size)
                    for color in 0..<3 {
                        for row in top..<top + size {
                            let source = pixels.baseAddress! + (color * side + row) * side + left
                            target.update(from: source, count: size)
                            target += size
                        }
                    }
                }
            }
        }
        guard context.dtype != .f32 else { return values }
        let rounded = context.tensor(values.shape)
        context.convert(values, into: rounded)
        return rounded
    }
}

/// A layer: attention of all to all and a feed-forward network, each behind a norm and added to the stream.
private struct CLIPLayer {
    private let norms: [LayerNorm]
    private let inputs: [FrozenLinear]
    private let output: FrozenLinear
    private let shape: AttentionShape
    private let inner: FrozenLinear
    private let outer: FrozenLinear
    private let activation: HiddenActivation

    init(_ weights: WeightLoader, _ configuration: CLIPConfiguration, prefix: String) throws {
        norms = try ["layer_norm1", "layer_norm2"].map { try weights.layerNorm(prefix + $0, configuration) }
        inputs = try ["q_proj", "k_proj", "v_proj"].map { try weights.linear(prefix + "self_attn." + $0) }
        output = try weights.linear(prefix + "self_attn.out_proj")
        inner = try weights.linear(prefix + "mlp.fc1")
        outer = try weights.linear(prefix + "mlp.fc2")
        activation = configuration.activation
        shape = AttentionShape(
            headCount: configuration.headCount, keyValueHeadCount: configuration.headCount,
            headSize: configuration.hiddenSize / configuration.headCount)
    }

    func forward(_ stream: Variable, _ layout: TokenLayout, on tape: Tape) -> Variable {
        let x = norms[0].forward(stream, on: tape)
        let parts = tape.context.products.reading(x.value) { inputs.map { tape.linear(x, $0) } }
        let mixed = tape.attention(
            q: parts[0], k: parts[1], v: parts[2], shape, layout, scoring: AttentionScoring(.everything))
        let middle = tape.residual(stream, plus: tape.linear(mixed, output))
        let wide = tape.linear(norms[1].forward(middle, on: tape), inner)
        return tape.residual(middle, plus: tape.linear(tape.activated(wide, activation), outer))
    }
}

extension WeightLoader {
    /// A tensor in F32, flat, by its own name in the checkpoint.
    func tensor(_ name: String) throws -> Tensor {
        let count = (checkpoint.shape(of: name) ?? []).reduce(1, *)
        let tensor = context.tensor([count], .f32)
        try checkpoint.readFloats(name, into: UnsafeMutableBufferPointer(start: tensor.floats, count: count))
        return tensor
    }

    fileprivate func layerNorm(_ module: String, _ configuration: CLIPConfiguration) throws -> LayerNorm {
        LayerNorm(
            weight: try tensor(CheckpointNames.weight(of: module)),
            bias: try tensor(CheckpointNames.bias(of: module)), epsilon: configuration.normEpsilon)
    }
}
