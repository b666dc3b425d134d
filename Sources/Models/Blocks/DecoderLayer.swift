import Compute
import TensorCore

/// What the blocks of one layer compute with besides their input.
struct LayerInput {
    /// Positions, and which tokens see which.
    let layout: TokenLayout
    /// Keys and values of the tokens before, in generation.
    let cache: KeyValueCache?
    /// The layer, from 0.
    let layer: Int
}

/// A part of a layer whose output is added to the stream.
protocol LayerBlock {
    /// The places of its projections, in the order of computation.
    var slots: [ProjectionSlot] { get }
    /// The output [tokens, hiddenSize] for x [tokens, hiddenSize].
    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable
}

/// x + block(norm x).
struct Sublayer {
    /// The norm before the block.
    let norm: RMSNorm
    let block: any LayerBlock

    func forward(_ stream: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        pass.tape.residual(stream, plus: block.forward(norm.forward(stream, on: pass.tape), input, in: pass))
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
