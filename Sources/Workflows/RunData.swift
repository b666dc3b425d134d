import CheckpointIO
import Data
import Training

/// The records of a run: those that are trained on, and those that it is evaluated on.
struct RunData {
    /// What was read for training, all of it.
    let whole: Dataset
    /// The examples that are trained on.
    let training: [Example]
    /// What is evaluated on; nil for nothing.
    let validation: ValidationSets?
    /// Examples that are held back of what was read for training.
    let heldBackCount: Int

    /// Reads what a request names.
    init(_ request: TrainRequest, load: ([String]) throws -> Dataset) throws {
        whole = try load(request.dataPaths)
        guard let split = request.training.validationSplit else {
            training = whole.examples
            heldBackCount = 0
            validation =
                request.evaluationPaths.isEmpty
                ? nil
                : try ValidationSets(paths: request.evaluationPaths, limit: request.evaluationLimit) { try load([$0]) }
            return
        }
        let parts = try split.parted(whole.examples, seed: request.training.seed)
        training = parts.training
        heldBackCount = parts.validation.count
        validation = ValidationSets(
            heldBack: Array(parts.validation.prefix(request.evaluationLimit ?? .max)), of: request.dataPaths, split)
    }

    /// What the gates are measured over where nothing is evaluated on.
    func statisticsSets(of request: TrainRequest, limit: Int) -> ValidationSets {
        ValidationSets(Array(training.prefix(limit)), of: request.dataPaths)
    }

    /// Tells what was read.
    func tell(_ progress: (TrainProgress) throws -> Void, steps: Int) throws {
        let tokens = training.reduce(0) { $0 + $1.tokens.count }
        try progress(
            .loaded(
                examples: training.count, tokens: tokens, scored: training.reduce(0) { $0 + $1.scoredCount },
                truncated: whole.truncatedCount, steps: steps))
        let cut = whole.cutTexts
        guard cut.texts > 0 || heldBackCount > 0 else { return }
        try progress(.prepared(cutTexts: cut.texts, parts: cut.parts, heldBack: heldBackCount))
    }
}
