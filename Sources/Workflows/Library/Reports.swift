import Adapters
import Evaluation
import Transforms

extension InjectReport {
    /// The adapted modules' paths, in the base's order.
    public var modules: [String] { match.modules.map(\.path) }
}

extension TrainReport {
    /// Mean loss of a scored token in nats, with the adapter as saved, over the evaluation file, or else over the first
    /// records of the training file.
    public var measuredLoss: Double { measured.meanLoss }
    /// What the loss and the sparsity were measured on, such as `100 records of dev.json (5210 tokens)`.
    public var measuredSource: String { statistics.source }
    /// Mean over the gates of the share of tokens that they skip there (equation 21); nil for a dense adapter.
    public var meanSparsity: Double? { gates?.meanSparsity }
    /// The smallest and the largest threshold; nil for a dense adapter.
    public var tauRange: ClosedRange<Float>? { gates?.tauRange }
}

/// What a gate did over the tokens of an evaluation.
public struct MeasuredGate: Sendable, Equatable {
    /// The module's path.
    public let module: String
    /// The share of the tokens that the gate skips, in 0...1 (equation 21); nil for a module without a rank.
    public let sparsity: Double?
    /// Tokens seen.
    public let tokens: Int
    /// Tokens with the gate open.
    public let active: Int
}

extension EvaluateReport {
    /// Mean loss of a scored token in nats; NaN where none is scored.
    public var meanLoss: Double { loss.meanLoss }
    /// exp of the mean loss.
    public var perplexity: Double { loss.perplexity }
    /// Tokens of the records, prompts included.
    public var tokens: Int { loss.tokens }
    /// Tokens scored.
    public var scoredTokens: Int { loss.scoredTokens }
    /// The type that was computed in: `f32` or `bf16`.
    public var precision: ComputeOptions.Precision { ComputeOptions.Precision(dtype) }
    /// What each gate did over the tokens of the records, each with its right answer, in the base's order; empty without
    /// gates.
    public var gates: [MeasuredGate] {
        zip(modules, sparsities).map { statistics, sparsity in
            MeasuredGate(
                module: statistics.module, sparsity: sparsity, tokens: statistics.tokens, active: statistics.active)
        }
    }
}

extension GenerateReport {
    /// Why a generation ended.
    public enum End: String, Sendable, CaseIterable {
        /// The model chose an end token.
        case endToken = "end token"
        /// The text came to one of the stop strings.
        case stopString = "stop string"
        /// As many tokens as were asked for.
        case tokenLimit = "token limit"
        /// The model's positions are used up.
        case positionLimit = "position limit"
        /// `receive` asked for an end.
        case stopped
    }

    /// The generated tokens, the end token left out.
    public var tokens: [Int32] { result.tokens }

    /// Why it ended.
    public var end: End {
        switch result.end {
        case .endToken: .endToken
        case .stopString: .stopString
        case .tokenLimit: .tokenLimit
        case .positionLimit: .positionLimit
        case .stopped: .stopped
        }
    }
}

/// A module's place in a ranking.
public struct RankedModule: Sendable, Equatable {
    /// The module's path.
    public let module: String
    /// What the rule says of it.
    public let score: Double
    /// The share of the tokens that its gate skips, in 0...1 (equation 21).
    public let sparsity: Double
    /// The gate's threshold.
    public let tau: Float
    /// Tokens seen.
    public let tokens: Int
    /// Tokens with the gate open.
    public let active: Int
    /// r of the module's update, 0 where a method took it away; nil for a method without ranks.
    public let rank: Int?
}

extension RankReport {
    /// The name of the rule, such as `sparsity`.
    public var rule: String { ranking.rule.name }
    /// The set of tokens that the figures are of.
    public var source: String { ranking.source }
    /// The modules in the rule's order, those that matter most first.
    public var modules: [RankedModule] {
        ranking.entries.map { entry in
            RankedModule(
                module: entry.module, score: entry.score, sparsity: entry.sparsity, tau: entry.tau,
                tokens: entry.tokens, active: entry.active, rank: entry.rank)
        }
    }
    /// The chosen modules' paths in the base's order; nil where no choice was asked for.
    public var chosen: [String]? { selection?.modules }
}

extension PruneReport {
    /// The kept modules' paths, in the base's order.
    public var keptModules: [String] { selection.modules }
}
