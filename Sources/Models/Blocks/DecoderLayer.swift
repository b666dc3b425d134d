import Compute
import TensorCore

/// What the blocks of one layer compute with besides their input.
struct LayerInput {
    /// Positions, and which tokens see which; with a cache, the tokens of the pass alone.
    let layout: TokenLayout
    /// What is kept of the tokens before, in generation.
    let cache: KeyValueCache?
    /// The layer, from 0.
    let layer: Int
    /// The embeddings of distances, where attention has them.
    var relative: RelativeEmbedding.Input?
}

/// A part of a layer whose output is added to the stream.
protocol LayerBlock {
    /// The places of its projections, in the order of computation.
    var slots: [ProjectionSlot] { get }
    /// Of how many tokens, with the one at hand, it sees keys and values; nil for all.
    var window: Int? { get }
    /// The output [tokens, hiddenSize] for x [tokens, hiddenSize].
    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable
}

extension LayerBlock {
    var window: Int? { nil }
}

/// x + factor outputNorm(block(norm x)), with either norm or neither; or sumNorm(x + block(x)), the norm behind the sum
/// as encoders have it.
struct Sublayer {
    /// The norm before the block.
    var norm: (any Norm)?
    let block: any LayerBlock
    /// The norm behind it.
    var outputNorm: (any Norm)?
    /// What its output is multiplied by.
    var factor: Float = 1
    /// Dropout of its output.
    var dropout: HiddenDropout?
    /// The norm of the sum.
    var sumNorm: LayerNorm?

    func forward(_ stream: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        let x = norm.map { $0.forward(stream, on: tape) } ?? tape.inComputationType(stream)
        var y = block.forward(x, input, in: pass)
        if let outputNorm { y = outputNorm.forward(y, on: tape) }
        if factor != 1 { y = tape.scaled(y, by: factor) }
        if let dropout { y = dropout.forward(y, in: pass) }
        let sum = tape.residual(stream, plus: y)
        return sumNorm.map { $0.forward(sum, on: tape, in: .f32) } ?? sum
    }
}

/// A decoder layer: attention, then a feed-forward network, each added to the stream.
struct DecoderLayer {
    let attention: Sublayer
    let feedForward: Sublayer

    /// The places of its projections, in the order of computation.
    var slots: [ProjectionSlot] { attention.block.slots + feedForward.block.slots }

    /// The stream [tokens, hiddenSize] F32 behind the layer.
    func forward(_ stream: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        feedForward.forward(attention.forward(stream, input, in: pass), input, in: pass)
    }
}
