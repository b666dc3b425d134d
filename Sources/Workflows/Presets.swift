import Adapters
import Training

/// The paper's settings for a family of tasks (arXiv 2511.16147, section 4.1, tables 1 to 3 and 6).
///
/// They depend on the method where the paper's do. For a method that it did not train on these tasks, the sizes are the
/// method's own defaults and lambda is LoRA's.
public struct Preset: Sendable, Equatable {
    /// The name on the command line.
    public let name: String
    /// r of LoRA and DoRA, AdaLoRA's target.
    public let rank: Int
    /// A parallel adapter's size; nil where the paper trained none.
    public let adapterSize: Int?
    /// Dropout of x.
    public let dropout: Double
    /// Projections, as peft's `target_modules` has them in the model that the paper trained.
    public let targets: [String]
    /// The same by the paper's letters.
    let letters: [TargetLetter]
    /// Peak learning rate.
    public let learningRate: Double
    /// Its shape.
    package let schedule: ScheduleShape
    /// Examples an optimizer step.
    public let batchSize: Int
    /// Passes over the data.
    public let epochs: Int
    /// s of equation 20.
    public let stepSize: Double
    /// lambda of equation 15 by method; there is one for LoRA.
    package let lambdas: [AdapterKind: Double]

    /// The factor on the update, the same in all of the paper.
    public var scaling: Double { 0.5 }

    /// What a method takes its sizes from.
    package var numbers: PaperNumbers {
        PaperNumbers(rank: rank, adapterSize: adapterSize, scaling: scaling, dropout: dropout)
    }

    /// lambda of equation 15.
    package func lambda(for kind: AdapterKind) -> Double { lambdas[kind] ?? lambdas[.lora]! }

    /// The preset of that name; throws `unknownName`.
    package static func named(_ name: String) throws(WorkflowError) -> Preset {
        guard let preset = all.first(where: { $0.name == name.lowercased() }) else {
            throw .unknownName(what: "preset", found: name, known: all.map(\.name))
        }
        return preset
    }

    /// Every preset.
    public static let all: [Preset] = [csr, vit] + nlu

    /// Commonsense reasoning, LLaMA-3.1-8B (table 1).
    public static let csr = Preset(
        name: "csr", rank: 32, adapterSize: nil, dropout: 0.05,
        targets: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], letters: [.query, .key, .value, .up, .down],
        learningRate: 1e-4, schedule: .linear, batchSize: 16, epochs: 3, stepSize: 4e-5,
        lambdas: [.lora: 4.5e-5, .dora: 1e-5, .adalora: 1e-4])

    /// Visual instruction tuning, LLaVA-1.5-7B (table 2).
    public static let vit = Preset(
        name: "vit", rank: 128, adapterSize: nil, dropout: 0.05,
        targets: ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"],
        letters: [.query, .key, .value, .output, .up, .down, .gate], learningRate: 2e-4, schedule: .cosine,
        batchSize: 16, epochs: 1, stepSize: 4e-5,
        lambdas: [.lora: 2e-6, .dora: 1e-6, .adalora: 5e-7])

    /// Language understanding on GLUE, DeBERTaV3-base (table 3: LoRA, AdaLoRA, adapter).
    public static let nlu: [Preset] = [
        glue("cola", dropout: 0.1, learningRate: 4e-4, epochs: 40, lambdas: (6e-6, 5e-6, 4.5e-7)),
        glue("mnli", dropout: 0.15, learningRate: 2.5e-4, epochs: 10, lambdas: (1e-5, 9e-6, 5e-7)),
        glue("qnli", dropout: 0.1, learningRate: 2e-4, epochs: 10, lambdas: (2e-5, 4.5e-7, 4.5e-7)),
        glue("rte", dropout: 0.2, learningRate: 1e-4, epochs: 80, lambdas: (1e-5, 2e-6, 2e-6)),
        glue("mrpc", dropout: 0, learningRate: 1e-4, epochs: 60, lambdas: (1e-5, 2e-8, 2e-8)),
        glue("qqp", dropout: 0.15, learningRate: 4e-4, epochs: 10, lambdas: (2e-6, 5e-7, 5e-7)),
        glue("sst-2", dropout: 0, learningRate: 4e-4, epochs: 48, lambdas: (2e-5, 2e-6, 2e-6)),
        glue("sts-b", dropout: 0.2, learningRate: 5e-4, epochs: 45, lambdas: (8e-5, 5e-6, 5e-6)),
    ]

    private static func glue(
        _ task: String, dropout: Double, learningRate: Double, epochs: Int,
        lambdas: (lora: Double, adalora: Double, adapter: Double)
    ) -> Preset {
        Preset(
            name: "nlu-\(task)", rank: 4, adapterSize: 32, dropout: dropout,
            targets: ["query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense"],
            letters: [.query, .key, .value, .output, .intermediate], learningRate: learningRate, schedule: .linear,
            batchSize: 32, epochs: epochs, stepSize: 1e-4,
            lambdas: [.lora: lambdas.lora, .adalora: lambdas.adalora, .adapter: lambdas.adapter])
    }
}

extension Preset {
    /// The preset of that name, such as `csr`, `vit` or `nlu-rte`; an error of the kind `usage` for another name.
    public init(named name: String) throws(TSPEFTError) {
        self = try reporting { try Preset.named(name) }
    }
}
