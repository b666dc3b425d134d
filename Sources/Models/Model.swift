import Compute
import TensorCore

/// The place of a projection in a model's graph, where an adapter can step in.
package final class ProjectionSlot {
    /// What computes there.
    package fileprivate(set) var projection: any Projection

    /// Whether something stands in the place of the plain projection.
    var isAdapted: Bool { !(projection is PlainProjection) }

    /// A place for `projection`.
    init(_ projection: any Projection) { self.projection = projection }

    /// The output of what computes there; see `Projection.forward`.
    func forward(_ x: Variable, in pass: Pass) -> Variable {
        let output = projection.forward(x, in: pass)
        pass.observer?.observe(output: output.value, of: projection)
        return output
    }
}

/// What gives a sequence its numbers, one for each class or one alone, from the hidden states of its tokens: in F32, of
/// weights that can be trained whole.
package protocol SequenceHead: AnyObject {
    /// The numbers [sequences, labels], F32, one row for each of the layout's segments, from the model's hidden states
    /// [tokens, hiddenSize].
    ///
    /// Throws `ModelError.missingHead` for a head that neither the checkpoint nor an adapter has, and
    /// `.noPaddingToken` for several sequences where transformers would ask for one.
    func scores(
        _ hidden: Variable, _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass
    ) throws(ModelError) -> Variable

    /// Computes with `weight`, of the shape of `tensor`, one of the head's, in its place, and trains it where it
    /// collects gradients.
    func train(_ tensor: TensorSpecification, _ weight: TrainableWeight)
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
    /// The output head, [vocabularySize, hiddenSize]; the embedding where they are tied; nil for a model without one.
    var head: FrozenLinear? { get }
    /// The head for whole sequences; nil for a model without one.
    var classifier: (any SequenceHead)? { get }
    /// The weight of `head` where it is trained.
    var trainedHead: TrainableWeight? { get }
    /// The embedding [vocabularySize, hiddenSize] where it is trained.
    var trainedEmbedding: TrainableWeight? { get }

    /// How it takes pictures; nil for a model of text alone.
    var imageFacts: ImageFacts? { get }

    /// Computes with `weight`, of the shape of `tensor`, in its place, and gives it gradients in backward passes; `tensor`
    /// is one of `tensors.wholeTensors`. Where the base ties head and embedding, the other of the two stays frozen.
    func train(_ tensor: TensorSpecification, _ weight: TrainableWeight)

    /// An empty cache for `capacity` tokens, of a language model.
    func makeCache(capacity: Int) -> KeyValueCache

    /// The final hidden states [tokens, hiddenSize], normalised: what the head reads; in the context's type where that is
    /// an output head.
    ///
    /// Tokens and layout are of equal length; every id is below the vocabulary's size and every position below
    /// `maximumPositions`. With a cache the tokens are one run that continues it, or as many runs of equal length as there
    /// are caches, that one and those beside it; the pass's tape must not record.
    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass, cache: KeyValueCache?
    ) throws -> Variable
}

extension Model {
    /// A model of text alone.
    package var imageFacts: ImageFacts? { nil }

    /// The final hidden states without a cache.
    package func forward(_ tokens: [Int32], _ layout: TokenLayout, in pass: Pass) throws -> Variable {
        try forward(tokens, layout, in: pass, cache: nil)
    }

    /// What the head for sequences gives for each of the layout's segments, [sequences, labels] F32.
    ///
    /// Throws what `forward` and the head throw. The model has such a head.
    package func scores(_ tokens: [Int32], _ layout: TokenLayout, in pass: Pass) throws -> Variable {
        guard let classifier else { preconditionFailure("the model has no head for sequences") }
        return try classifier.scores(try forward(tokens, layout, in: pass), tokens, layout, in: pass)
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
