import Glibc
import TensorCore
import Training

/// What a training run tells as it goes.
public enum TrainProgress: Sendable {
    /// The inputs are read: examples, tokens, scored tokens, truncated records, optimizer steps of the run.
    case loaded(examples: Int, tokens: Int, scored: Int, truncated: Int, steps: Int)
    /// The adapter: trainable numbers, modules, the type that is computed in (`f32` or `bf16`), threads.
    case ready(parameters: Int, modules: Int, precision: ComputeOptions.Precision, threads: Int)
    /// How the training data was prepared: texts longer than an example, the parts that they were cut into, and examples
    /// that are held back for validation.
    case prepared(cutTexts: Int, parts: Int, heldBack: Int)
    /// The run goes on after this step.
    case resumed(step: Int)
    /// A step is done.
    case step(TrainStep)
    /// An evaluation is done: mean loss of a scored token in nats, and its exponential.
    case evaluation(step: Int, loss: Double, perplexity: Double)
    /// The same for one of several data sets, before the one of all together.
    case partialEvaluation(data: String, step: Int, loss: Double, perplexity: Double)
    /// An evaluation of classes or numbers is done: mean loss of a record, and how well they agree; `data` names one of
    /// several data sets, and nil stands for all together.
    case measured(step: Int, data: String?, loss: Double, measures: [Measure])
    /// The adapter of the best evaluation so far stands at `path`, whole.
    case best(step: Int, path: String)
    /// The run ends after this step, because so many evaluations in a row were no better.
    case stoppedEarly(step: Int, evaluations: Int)
    /// A checkpoint stands at `path`, whole.
    case checkpoint(step: Int, path: String)
    /// Something that the user should know of, such as thresholds that cannot reach the ratios of this run.
    case warning(TrainWarning)
    /// The final pass has begun, over so many records: it measures the loss, and what the gates do where there are any.
    case measuring(source: String, examples: Int, countsGates: Bool)

    /// What the loop tells.
    init(_ event: TrainingEvent) {
        self =
            switch event {
            case .step(let report): .step(TrainStep(report: report))
            case .evaluation(let step, let loss, let details):
                Self.evaluated(nil, step, loss, Measure.all(in: details))
            case .partialEvaluation(let data, let step, let loss, let details):
                Self.evaluated(data, step, loss, Measure.all(in: details))
            case .best(let step, let path): .best(step: step, path: path)
            case .stoppedEarly(let step, let evaluations): .stoppedEarly(step: step, evaluations: evaluations)
            case .checkpoint(let step, let path): .checkpoint(step: step, path: path)
            case .warning(let text): .warning(TrainWarning(wording: text))
            }
    }

    private static func evaluated(_ data: String?, _ step: Int, _ loss: Double, _ measures: [Measure]) -> TrainProgress
    {
        if !measures.isEmpty { return .measured(step: step, data: data, loss: loss, measures: measures) }
        guard let data else { return .evaluation(step: step, loss: loss, perplexity: exp(loss)) }
        return .partialEvaluation(data: data, step: step, loss: loss, perplexity: exp(loss))
    }
}

/// What a training run warns of.
public struct TrainWarning: Sendable {
    /// The sentence's words.
    package let wording: Wording

    /// A sentence; properties of requests stand in it as `name: value`.
    public var text: String { wording.description }
}

/// What one optimizer step did.
public struct TrainStep: Sendable {
    /// The loop's own report.
    package let report: StepReport

    /// The step, from 1.
    public var step: Int { report.step }
    /// Steps of the whole run.
    public var totalSteps: Int { report.totalSteps }
    /// Passes over the data so far, in parts.
    public var epoch: Double { report.epoch }
    /// Mean loss of the step's scored tokens, in nats.
    public var loss: Double { report.loss }
    /// What the method adds to the loss (AdaLoRA's orthogonality penalty); 0 for most.
    public var penalty: Double { report.penalty }
    /// Mean rank of the modules where ranks move between them (AdaLoRA); nil elsewhere.
    public var meanRank: Double? { report.meanRank }
    /// The learning rate used.
    public var learningRate: Double { report.learningRate }
    /// Norm of all gradients of the adapter before clipping.
    public var gradientNorm: Double { report.gradientNorm }
    /// Tokens passed forward and backward.
    public var tokens: Int { report.tokens }
    /// Tokens scored.
    public var scoredTokens: Int { report.scoredTokens }
    /// Seconds that the step took.
    public var seconds: Double { report.seconds }
    /// Tokens passed forward and backward in a second.
    public var tokensPerSecond: Double { Double(report.tokens) / max(report.seconds, 1e-9) }
    /// Mean over the gates of the share of the step's tokens that they skip; nil for a dense adapter.
    public var sparsity: Double? { report.sparsity }
    /// Smallest and largest threshold after the update; nil for a dense adapter.
    public var tauRange: ClosedRange<Float>? { report.tauRange }
}

extension ComputeOptions.Precision {
    /// The precision of a context.
    init(_ dtype: DType) { self = dtype == .bf16 ? .bf16 : .f32 }
}
