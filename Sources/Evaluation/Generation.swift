import Compute
import Models
import TensorCore

/// Why a generation ended.
package enum GenerationEnd: String, Sendable {
    /// The model chose an end token.
    case endToken = "end token"
    /// As many tokens as were asked for.
    case tokenLimit = "token limit"
    /// The model's positions are used up.
    case positionLimit = "position limit"
    /// The caller asked for an end.
    case stopped
}

/// What a generation gave.
package struct GenerationResult: Sendable {
    /// The generated tokens, the end token left out.
    package var tokens: [Int32] = []
    /// Why it ended.
    package var end = GenerationEnd.tokenLimit
}

/// Continues `prompt` token by token, gates applied at every token, with a cache of keys and values.
///
/// - Parameters:
///   - prompt: at least one token, fewer than the model has positions.
///   - limit: the most tokens to generate.
///   - endTokens: tokens that end the text.
///   - options: how tokens are chosen.
///   - receive: is handed each token as it comes; returns false to stop.
package func generate(
    _ model: any Model, prompt: [Int32], limit: Int, endTokens: Set<Int32>, _ options: SamplingOptions,
    receive: (Int32) throws -> Bool = { _ in true }
) throws -> GenerationResult {
    let positions = model.configuration.maximumPositions
    guard !prompt.isEmpty, prompt.count <= positions else {
        throw EvaluationError.promptLength(tokens: prompt.count, limit: positions)
    }
    var result = GenerationResult()
    guard limit > 0 else { return result }
    let cache = model.makeCache(capacity: prompt.count + min(positions - prompt.count, limit))
    var stream = options.stream()
    var pending = prompt
    while true {
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(pending, TokenLayout(lengths: [pending.count]), in: Pass(tape), cache: cache)
        let logits = tape.logits(hidden, head: model.head, rows: [Int32(pending.count - 1)])
        try model.context.throwFailure()
        let token = try withExtendedLifetime(logits) {
            try sampleToken(
                logits: UnsafeBufferPointer(start: logits.floats, count: logits.count), options: options,
                stream: &stream)
        }
        if endTokens.contains(token) {
            result.end = .endToken
            return result
        }
        result.tokens.append(token)
        if try !receive(token) {
            result.end = .stopped
            return result
        }
        if result.tokens.count == limit { return result }
        if cache.count == positions {
            result.end = .positionLimit
            return result
        }
        pending = [token]
    }
}
