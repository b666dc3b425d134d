import Compute

/// Dropout of activations in training, as the model's configuration asks for it. Its masks are those of a stream of its
/// own, which its place's name forks from the pass's.
struct HiddenDropout {
    /// The share that is dropped, at least 0 and below 1.
    let rate: Float
    /// The path of the module in transformers that drops, such as `bert.encoder.layer.0.output.dropout`.
    let place: String

    /// The key of the pass's mask; nil where nothing is dropped.
    func key(in pass: Pass) -> UInt64? {
        guard rate > 0, let masks = pass.dropout else { return nil }
        return masks.forked(place).key
    }

    /// x, dropped where the pass drops.
    func forward(_ x: Variable, in pass: Pass) -> Variable {
        guard let key = key(in: pass) else { return x }
        return pass.tape.dropped(x, rate: rate, key: key)
    }

    /// The dropout of attention's probabilities; nil where nothing is dropped.
    func ofProbabilities(in pass: Pass) -> ProbabilityDropout? {
        key(in: pass).map { ProbabilityDropout(rate: rate, key: $0) }
    }
}
