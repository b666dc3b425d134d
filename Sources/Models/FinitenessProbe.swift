import Compute
import TensorCore

extension Model {
    /// The path of the first projection, in the order of computation, whose output has a NaN or infinity on these
    /// tokens, with these dropout masks; nil where all outputs are finite. Runs a forward pass.
    package func firstProjectionNotFinite(
        _ tokens: [Int32], _ layout: TokenLayout, dropout: RandomStream? = nil, images: [[Float]] = []
    ) throws -> String? {
        let probe = FinitenessProbe()
        let tape = Tape(context, isRecording: false)
        var pass = Pass(tape, dropout: dropout, observer: probe)
        pass.images = images
        _ = try forward(tokens, layout, in: pass)
        return probe.firstPath
    }
}

/// Notes where a NaN or infinity was first seen.
private final class FinitenessProbe: PassObserver {
    private(set) var firstPath: String?

    func observe(output: Tensor, of projection: any Projection) {
        if firstPath == nil, output.toArray().contains(where: { !$0.isFinite }) { firstPath = projection.path }
    }
}
