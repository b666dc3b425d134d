/// What a caller can set and a message may speak of, named as the caller's language names it: a program on top says
/// `Wording.text` how its users spell each.
///
/// One list for all rooms, so that a program which words parameters in one `switch` misses none. A parameter that a
/// message begins to name is added here.
package enum Parameter: Sendable, Hashable {
    /// The adapter beside a base.
    case adapter
    /// Whether an existing output may be replaced.
    case replaces
    /// Whether a run goes on from its last checkpoint.
    case resumes
    /// A training state of another run to go on from.
    case continues
    /// Where the result is written.
    case output
    /// The base of an adapter, where it is not the one that the adapter names.
    case base
    /// The type of activations and frozen weights.
    case precision
    /// Processor threads.
    case threads
    /// The architecture as which a base of an unknown type is computed.
    case architecture

    /// An adapter of peft's that is taken over.
    case adoptedAdapter
    /// The adapter method.
    case method
    /// A number of the method, by its key.
    case methodOption(String)
    /// The paper's settings.
    case preset
    /// Modules to adapt.
    case targets
    /// Packed parameters to adapt.
    case targetParameters
    /// Modules to leave out.
    case excluded
    /// Layers to adapt.
    case layers
    /// Layers that are trained whole.
    case modulesToSave
    /// A file with a choice of modules.
    case selection
    /// The seed of what is random.
    case seed

    /// Longest example in tokens.
    case maxLength
    /// The names of a table's columns.
    case columns
    /// The classes of a task.
    case labels
    /// Examples of one pass.
    case batchSize
    /// Passes of one optimizer step.
    case accumulation
    /// Optimizer steps of a run.
    case steps
    /// Passes over the data.
    case epochs
    /// Steps between lines of progress.
    case logInterval
    /// Checkpoints that a run keeps.
    case keptCheckpoints
    /// s of equation 20.
    case thresholdStep
    /// lambda of equation 15.
    case lambda
    /// Whether the thresholds alone are trained.
    case thresholdsOnly

    /// How tau is updated.
    case tauUpdate
    /// How alpha_k of equation 20 behaves.
    case tauSchedule

    /// Records to train or to measure on.
    case data
    /// Records to evaluate on while training.
    case evaluationData
    /// How accuracy is measured.
    case evaluationMode
    /// Records that are used.
    case recordLimit
    /// Most tokens that are generated.
    case newTokenLimit
    /// Whether a prompt is put into the chat template.
    case chat
    /// The chat template that is meant.
    case chatTemplate
    /// The text to continue.
    case prompt
    /// Beams of a search for the likeliest text.
    case beams
    /// The file of what a model says of each record.
    case predictions

    /// How many modules are kept.
    case keep
    /// By what modules are ranked.
    case rankingRule
    /// What becomes of the gates.
    case gates
    /// The type of weights that a merge changes.
    case mergedType
    /// The format of a conversion.
    case format
    /// The type of tensors that are converted.
    case tensorType
    /// Bytes of tensors in one file.
    case shardSize
    /// Whether an export folds the method into LoRA.
    case asLoRA
    /// The folder of the demo's model and data.
    case fixtures
    /// The largest rate of learning.
    case learningRate
    /// AdamW's decay of weights.
    case weightDecay
    /// The largest norm of the gradients.
    case gradientClipping
    /// beta1 of tau's optimizer.
    case tauBeta1
    /// beta2 of tau's optimizer.
    case tauBeta2
    /// Steps of rising learning rate.
    case warmupSteps
    /// Steps between evaluations.
    case evaluationInterval
    /// Steps between checkpoints.
    case checkpointInterval
    /// Records of an evaluation.
    case evaluationLimit
    /// Examples that are held back for validation.
    case validationSplit
    /// Evaluations without a lower loss that end a run.
    case earlyStop
    /// The folder of a run's figures for TensorBoard.
    case eventFolder
    /// The table of a run's figures.
    case tablePath
    /// The factor on the updates of the adapter at a path.
    case adapterWeight(String)

    /// What it is called in Swift, where no program says otherwise.
    package var name: String {
        switch self {
        case .methodOption(let key): key
        case .adapterWeight(let path): "the weight of \(path)"
        case .thresholdStep: "s"
        case .rankingRule: "rule"
        case .recordLimit: "limit"
        case .data: "dataPaths"
        case .evaluationData: "evaluationPaths"
        case .evaluationMode: "mode"
        case .tauSchedule: "tauFollowsSchedule"
        case .earlyStop: "evaluationsWithoutGain"
        case .predictions: "predictionsPath"
        case .mergedType: "dtype"
        case .tensorType: "type"
        default: "\(self)"
        }
    }
}
