import Compute
import Models
import TensorCore

/// A projection with an adapter around its frozen weight, gated or dense:
///
///     h_i = W0 x_i + S_i M(x_i)                (equation 2 of arXiv 2511.16147; S_i = 1 for a dense adapter)
///
/// S_i is a constant in back-propagation: gradients reach the adapter through active tokens alone, never through r.
package final class GatedProjection: Projection {
    package let path: String
    package let frozen: FrozenLinear
    /// M(x).
    package let method: any AdapterMethod
    /// The gate; nil for a dense adapter.
    package let gate: TokenGate?
    /// An adapted projection.
    package init(_ projection: any Projection, method: any AdapterMethod, gate: TokenGate?) {
        path = projection.path
        frozen = projection.frozen
        self.method = method
        self.gate = gate
    }

    package func forward(_ x: Variable, in pass: Pass) -> Variable {
        let tape = pass.tape
        let products = tape.context.products
        let (h, update) = products.reading(x.value) {
            let h = tape.linear(x, frozen)
            return (h, method.update(of: h.value, input: x.value, dropoutKey: dropoutKey(pass)))
        }
        if tape.isRecording { h.requireGradient() }
        let observer = pass.observer as? any GateObserver
        let isCounted = pass.rows.flags(x.value.rows)
        var decision: GateDecision?
        if gate != nil || observer != nil {
            let updateNorms = update.norms()
            let outputNorms = tape.context.rowNorms(h.value)
            withExtendedLifetime((updateNorms, outputNorms)) {
                // A dense adapter's gate is one that lets everything pass.
                let decided = (gate ?? TokenGate(tau: -.infinity)).decide(
                    updateNorms: UnsafeBufferPointer(start: updateNorms.floats, count: updateNorms.count),
                    outputNorms: UnsafeBufferPointer(start: outputNorms.floats, count: outputNorms.count),
                    isCounted: isCounted)
                decision = decided
                observer?.observe(
                    self, decided, updateNorms: updateNorms, outputNorms: outputNorms, inner: update.innerActivations)
            }
        }
        let active = gate == nil ? .all : decision!.active
        update.apply(to: h.value, active)
        let sum = h.gradientSum
        tape.record { [self] in
            // The gradient of h is that of W0 x too, and stays for the frozen layer's backward pass.
            guard let gradient = sum.tensor else { return }
            let mu = products.reading(gradient) {
                update.backward(gradient, input: x, active, wantsMu: gate != nil)
            }
            if let gate, let mu, let decision {
                withExtendedLifetime(mu) {
                    let values = UnsafeBufferPointer(start: mu.floats, count: mu.count)
                    gate.accumulate(mu: values, decision)
                    observer?.observe(self, mu: values)
                }
            }
        }
        return h
    }

    /// Which mask to use; rows that are no tokens, which the same projection may be given in the same pass, get one of
    /// their own.
    private func dropoutKey(_ pass: Pass) -> UInt64? {
        guard let masks = pass.dropout?.forked(path) else { return nil }
        return pass.rows == .auxiliary ? masks.forked("auxiliary").key : masks.key
    }
}

/// Is told what the gates of a pass decide.
package protocol GateObserver: PassObserver {
    /// After a projection's forward pass; `decision.isCounted` says which rows are tokens. Norms are [tokens] F32; `inner` is z = A x, [tokens, rank] F32, for methods that have one.
    func observe(
        _ projection: GatedProjection, _ decision: GateDecision, updateNorms: Tensor, outputNorms: Tensor,
        inner: Tensor?)

    /// After its backward pass: mu of equation 9, [tokens].
    func observe(_ projection: GatedProjection, mu: UnsafeBufferPointer<Float>)
}
