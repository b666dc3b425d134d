import Compute
import TensorCore

/// The gated delta rule in attention's place (Yang et al., "Gated Delta Networks", arXiv 2412.06464): a short convolution
/// of queries, keys and values, the rule, a norm of each head times silu(z), and an output projection. What it keeps of
/// the tokens before does not grow.
struct DeltaBlock: LayerBlock {
    /// The projections of queries, keys and values together, and of z.
    let channels: ProjectionSlot
    let gate: ProjectionSlot
    let output: ProjectionSlot
    /// The projections of what decays and of what is taken up, [valueHeadCount, hiddenSize].
    let decays: ProjectionSlot
    let shares: ProjectionSlot
    /// [channels, taps].
    let taps: [Float]
    let decay: DeltaDecay
    /// Of each head, by its weight alone.
    let norm: RMSNorm
    let shape: DeltaShape

    var slots: [ProjectionSlot] { [channels, gate, shares, decays, output] }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        let (mixed, z, b, a) = tape.context.products.reading(x.value) {
            (
                channels.forward(x, in: pass), gate.forward(x, in: pass), shares.forward(x, in: pass),
                decays.forward(x, in: pass)
            )
        }
        let state = input.cache?.state(layer: input.layer) {
            DeltaState(shape, channels: mixed.value.columns, taps: taps.count / mixed.value.columns)
        }
        let convolved = tape.shortConvolution(mixed, weights: taps, input.layout, state: state)
        let values = tape.deltaRule(
            channels: convolved, shares: b, decays: a, shape, decay, input.layout, state: state)
        let normed = norm.forward(heads: values, on: tape)
        return output.forward(tape.siluProduct(gate: z, up: normed), in: pass)
    }
}
