import Compute
import TensorCore

/// Pictures as a decoder's tokens: LLaVA's tower, and the projector linear_2(f(linear_1 x)) behind it.
///
/// Owns the projector's weights, which can be put in training; the tower stays frozen.
final class ImageEmbedding {
    let facts: ImageFacts
    private let model: LLaVA
    private let tower: CLIPTower
    private let first: FrozenLinear
    private let second: FrozenLinear

    /// Pictures that go through the tower at a time, which bounds its memory.
    private static let imagesAtATime = 4

    /// Loads tower and projector. Names are the checkpoint's own: `weights` has no text part.
    init(_ weights: WeightLoader, _ model: LLaVA, _ names: LLaVANames) throws {
        self.model = model
        facts = model.facts
        tower = try CLIPTower(weights, model.tower, layerCount: model.layerCount, prefix: names.tower)
        first = try weights.linear(names.projector + LLaVA.projectorLayers[0])
        second = try weights.linear(names.projector + LLaVA.projectorLayers[1])
    }

    /// The embeddings of pictures, [pictures * tokenCount, hiddenSize] F32, in order.
    func embed(_ images: [[Float]], in pass: Pass) -> Variable {
        let context = pass.tape.context
        let width = model.tower.hiddenSize
        let features = context.tensor([images.count * facts.tokenCount, width])
        for start in stride(from: 0, to: images.count, by: Self.imagesAtATime) {
            let group = images[start..<min(images.count, start + Self.imagesAtATime)]
            let states = tower.states(of: group, on: Tape(context, isRecording: false)).value
            for image in 0..<group.count {
                let skipped = facts.dropsClass ? 1 : 0
                let row = image * (model.tower.patchCount + 1) + skipped
                context.convert(
                    states.rows(row..<row + facts.tokenCount), into: features, at: (start + image) * facts.tokenCount)
            }
        }
        return project(Variable(features, needsGradient: false), in: pass)
    }

    private func project(_ features: Variable, in pass: Pass) -> Variable {
        let tape = pass.tape
        let projected = tape.linear(tape.activated(tape.linear(features, first), model.activation), second)
        guard projected.value.dtype != .f32 else { return projected }
        let wide = tape.context.tensor(projected.value.shape, .f32)
        tape.context.convert(projected.value, into: wide)
        return Variable(wide, needsGradient: false)
    }
}
