import Compute
import TensorCore

/// The place of a projection in a model's graph, where an adapter can step in.
package final class ProjectionSlot {
    /// What computes there.
    package fileprivate(set) var projection: any Projection

    /// A place for `projection`.
    init(_ projection: any Projection) { self.projection = projection }

    /// The output of what computes there; see `Projection.forward`.
    func forward(_ x: Variable, in pass: Pass) -> Variable {
        let output = projection.forward(x, in: pass)
        pass.observer?.observe(output: output.value, of: projection)
        return output
    }
}

/// A base model that computes: a graph over frozen weights, of which output head and embedding can be put in training.
package protocol Model: AnyObject {
    /// Sizes and constants.
    var configuration: ModelConfiguration { get }
    /// Every tensor that the model has.
    var tensors: ModelTensors { get }
    /// Type, memory and threads of all computation.
    var context: ComputeContext { get }
    /// The projections' places inside the layers, in the order of computation.
    var slots: [ProjectionSlot] { get }
    /// The output head, [vocabularySize, hiddenSize]; the embedding where they are tied.
    var head: FrozenLinear { get }
    /// The weight of `head` where it is trained.
    var trainedHead: TrainableWeight? { get }
    /// The embedding [vocabularySize, hiddenSize] where it is trained.
    var trainedEmbedding: TrainableWeight? { get }

    /// Computes with `weight`, of the shape of `module`, in its place, and gives it gradients in backward passes; `module`
    /// is one of `tensors.wholeModules`. Where the base ties head and embedding, the other of the two stays frozen.
    func train(_ module: TensorSpecification, _ weight: TrainableWeight)

    /// An empty cache for `capacity` tokens.
    func makeCache(capacity: Int) -> KeyValueCache

    /// The final hidden states [tokens, hiddenSize], normalised, in the context's type: what the head reads.
    ///
    /// Tokens and layout are of equal length; every id is below the vocabulary's size and every position below
    /// `maximumPositions`. With a cache the tokens are one run that continues it, or as many runs of equal length as there
    /// are caches, that one and those beside it; the pass's tape must not record.
    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass, cache: KeyValueCache?
    ) throws -> Variable
}

extension Model {
    /// The final hidden states without a cache.
    package func forward(_ tokens: [Int32], _ layout: TokenLayout, in pass: Pass) throws -> Variable {
        try forward(tokens, layout, in: pass, cache: nil)
    }

    /// All projections inside the layers, in the order of computation.
    package var projections: [any Projection] { slots.map(\.projection) }

    /// Puts each projection that `replacement` gives in the place of the one it is handed; nil leaves that as it is.
    package func replaceProjections(_ replacement: (any Projection) throws -> (any Projection)?) rethrows {
        for slot in slots {
            if let new = try replacement(slot.projection) {
                precondition(new.path == slot.projection.path, "a replacement keeps its module's path")
                slot.projection = new
            }
        }
    }
}
