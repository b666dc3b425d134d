import TensorCore

/// How the program's users spell parameters: the one place where a message of a room gets its options' names.
enum OptionWords {
    /// What an error says, with options by their names.
    static func text(_ error: any Error) -> String { text(Wording(error)) }

    /// The words with options by their names.
    static func text(_ wording: Wording) -> String { wording.text(spelling) }

    /// `--type f16` for a parameter and its value; the option alone for a flag, whose value is `true`.
    private static func spelling(_ parameter: Parameter, _ value: String?) -> String {
        switch parameter {
        case .thresholdsOnly: value == nil ? option(parameter) : option(parameter) + " tau"
        default: option(parameter) + (value.map { $0 == "true" ? "" : " \($0)" } ?? "")
        }
    }

    /// How an option is spelled.
    static func option(_ parameter: Parameter) -> String {
        switch parameter {
        case .adapter: "--adapter"
        case .replaces: "--force"
        case .resumes: "--resume"
        case .continues: "--continue"
        case .output: "-o"
        case .base: "--base"
        case .precision: "--compute-type"
        case .mergedType: "--changed-type"
        case .threads: "--threads"
        case .architecture: "--architecture"
        case .adoptedAdapter: "--from-peft"
        case .method: "--method"
        case .methodOption(let key): option(ofMethodKey: key)
        case .preset: "--preset"
        case .targets: "--targets"
        case .targetParameters: "--target-parameters"
        case .excluded: "--exclude"
        case .layers: "--layers"
        case .modulesToSave: "--modules-to-save"
        case .selection: "--select"
        case .seed: "--seed"
        case .maxLength: "--max-length"
        case .columns: "--columns"
        case .labels: "--labels"
        case .batchSize: "--batch-size"
        case .accumulation: "--accumulation"
        case .steps: "--steps"
        case .epochs: "--epochs"
        case .logInterval: "--log-every"
        case .keptCheckpoints: "--keep-checkpoints"
        case .thresholdStep: "--s"
        case .lambda: "--lambda"
        case .thresholdsOnly: "--only"
        case .tauUpdate: "--tau-update"
        case .tauSchedule: "--tau-schedule"
        case .data: "--data"
        case .evaluationData: "--eval-data"
        case .evaluationMode: "--mode"
        case .recordLimit: "--limit"
        case .newTokenLimit: "--max-new-tokens"
        case .chat: "--chat"
        case .chatTemplate: "--chat-template"
        case .prompt: "--prompt"
        case .beams: "--beams"
        case .predictions: "--predictions"
        case .keep: "--keep"
        case .rankingRule: "--by"
        case .gates: "--gates"
        case .format: "--to"
        case .tensorType: "--type"
        case .shardSize: "--max-shard-size"
        case .asLoRA: "--as-lora"
        case .fixtures: "--fixtures"
        case .learningRate: "--learning-rate"
        case .weightDecay: "--weight-decay"
        case .gradientClipping: "--clip"
        case .tauBeta1: "--tau-beta1"
        case .tauBeta2: "--tau-beta2"
        case .warmupSteps: "--warmup"
        case .evaluationInterval: "--eval-every"
        case .checkpointInterval: "--save-every"
        case .evaluationLimit: "--eval-limit"
        case .validationSplit: "--val-split"
        case .earlyStop: "--early-stop"
        case .eventFolder: "--tensorboard"
        case .tablePath: "--csv"
        case .adapterWeight(let path): "the weight in --adapter \(path)"
        }
    }

    /// How a method's option is spelled: `--target-r` for `target_r`, `--delta-t` for `deltaT`.
    static func option(ofMethodKey key: String) -> String {
        "--" + key.map { $0 == "_" ? "-" : $0.isUppercase ? "-" + $0.lowercased() : String($0) }.joined()
    }
}
