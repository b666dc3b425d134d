import Compute
import TensorCore

extension Model {
    /// The path of the first projection, in the order of computation, whose output has a NaN or infinity on these
    /// tokens; nil where all outputs are finite. Runs a forward pass.
    package func firstProjectionNotFinite(_ tokens: [Int32], _ layout: TokenLayout) throws -> String? {
        let probe = FinitenessProbe()
        replaceProjections { FiniteCheckedProjection($0, probe) }
        defer { replaceProjections { ($0 as? FiniteCheckedProjection)?.inner } }
        _ = try forward(tokens, layout, on: Tape(context, isRecording: false))
        return probe.firstPath
    }
}

/// Where a NaN or infinity was first seen.
private final class FinitenessProbe {
    var firstPath: String?
}

/// A projection that notes whether its output is finite.
private final class FiniteCheckedProjection: Projection {
    let inner: any Projection
    private let probe: FinitenessProbe

    init(_ inner: any Projection, _ probe: FinitenessProbe) {
        self.inner = inner
        self.probe = probe
    }

    var path: String { inner.path }
    var frozen: FrozenLinear { inner.frozen }

    func forward(_ x: Variable, on tape: Tape) -> Variable {
        let output = inner.forward(x, on: tape)
        if probe.firstPath == nil, output.value.toArray().contains(where: { !$0.isFinite }) { probe.firstPath = path }
        return output
    }
}
