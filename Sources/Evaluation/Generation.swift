import Compute
import Data
import Models
import TensorCore

/// Why a generation ended.
package enum GenerationEnd: String, Sendable {
    /// The model chose an end token.
    case endToken = "end token"
    /// The text came to one of the texts that are to end it.
    case stopString = "stop string"
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
    /// Tokens of the prompt whose keys and values were still there from an earlier one.
    package var reusedTokens = 0
}

/// How a text is generated.
package struct GenerationSettings: Sendable {
    /// The most tokens to generate.
    package var limit: Int
    /// Tokens that end the text.
    package var endTokens: Set<Int32>
    /// How tokens are chosen, where there are no beams; its repetition penalty counts in either case.
    package var sampling = SamplingOptions.greedy
    /// How beams are searched; nil for none.
    package var beams: BeamOptions?
    /// Whether tokens generated so far hold a text that ends them. Asked of beams alone: elsewhere who receives the
    /// tokens ends the text.
    package var isEnded: (@Sendable ([Int32]) -> Bool)?

    /// Greedy choice up to `limit` tokens.
    package init(limit: Int, endTokens: Set<Int32>) {
        self.limit = limit
        self.endTokens = endTokens
    }
}

/// Continues prompts with one model, gates applied at every token. Owns the keys and values of the last prompt and of
/// what was generated behind it, and computes of a new one only what does not begin alike.
package final class Generator {
    private let model: any Model
    private var cache: KeyValueCache?
    /// The tokens whose keys and values the cache holds.
    private var held: [Int32] = []
    /// The pictures whose tokens are among them.
    private var heldImages: [ExampleImage] = []
    /// The pictures of the tokens that are to be computed next.
    private var pendingImages: [ExampleImage] = []

    /// A generator that knows of no prompt yet.
    package init(_ model: any Model) {
        self.model = model
    }

    /// Forgets the last prompt.
    package func reset() {
        (cache, held, heldImages) = (nil, [], [])
    }

    /// Continues `prompt` token by token, or by a search with beams, of which the best is handed on when it is found.
    ///
    /// - Parameters:
    ///   - prompt: at least one token, and no more than the model has positions.
    ///   - images: the pictures whose tokens the prompt has, in their order.
    ///   - receive: is handed each token as it comes; returns false to stop. Behind beams it is called at the end.
    ///   - shouldStop: is asked before each token; true ends the text there.
    package func run(
        _ prompt: [Int32], _ settings: GenerationSettings, images: [ExampleImage] = [],
        shouldStop: () -> Bool = { false }, receive: (Int32) throws -> Bool = { _ in true }
    ) throws -> GenerationResult {
        let positions = model.configuration.positionLimit
        guard !prompt.isEmpty, prompt.count <= positions else {
            throw EvaluationError.promptLength(tokens: prompt.count, limit: positions)
        }
        guard settings.limit > 0 else { return GenerationResult() }
        let capacity = prompt.count + min(positions - prompt.count, settings.limit)
        let cache = cache ?? model.makeCache(capacity: capacity)
        cache.allow(capacity)
        // What an error leaves half done is not gone on with.
        let known = images.starts(with: heldImages) ? held : []
        reset()
        // The last token's output is needed at any rate.
        let common = zip(known, prompt.dropLast()).prefix { $0 == $1 }.count
        let (start, imageCount) = model.wholeImages(in: prompt.prefix(common))
        let canReuse = cache.canTruncate(to: start) && cache.imageCount >= imageCount
        let reused = canReuse ? start : 0
        cache.truncate(to: reused, images: canReuse ? imageCount : 0)
        pendingImages = Array(images.dropFirst(canReuse ? imageCount : 0))
        var text = GeneratedText(prompt: prompt, positions: positions, settings: settings)
        text.result.reusedTokens = reused
        if let beams = settings.beams {
            // They go on from each other's caches: none is kept.
            try search(beams, &text, cache, from: reused, shouldStop: shouldStop, receive: receive)
        } else {
            try choose(&text, cache, from: reused, shouldStop: shouldStop, receive: receive)
            held = Array((prompt + text.result.tokens).prefix(cache.count))
            heldImages = images
            self.cache = cache
        }
        return text.result
    }

    /// The logits behind the last token of each run, [runs, vocabularySize]: as many runs of equal length, one after the
    /// other, as there are caches, `cache` and those beside it.
    private func logits(_ tokens: [Int32], _ cache: KeyValueCache) throws -> Tensor {
        guard let head = model.head else { preconditionFailure("a language model generates") }
        let tape = Tape(model.context, isRecording: false)
        var pass = Pass(tape)
        pass.images = try pendingImages.values()
        pendingImages = []
        let hidden = try model.forward(tokens, TokenLayout(lengths: [tokens.count]), in: pass, cache: cache)
        let runs = 1 + cache.beside.count
        let rows = (1...runs).map { Int32($0 * (tokens.count / runs) - 1) }
        let logits = tape.logits(hidden, head: head, rows: rows)
        try model.context.throwFailure()
        return logits
    }

    private func choose(
        _ text: inout GeneratedText, _ cache: KeyValueCache, from reused: Int, shouldStop: () -> Bool,
        receive: (Int32) throws -> Bool
    ) throws {
        let options = text.settings.sampling
        var stream = options.stream()
        var pending = Array(text.prompt[reused...])
        while true {
            let logits = try logits(pending, cache)
            if shouldStop() { return text.result.end = .stopped }
            let token = try withExtendedLifetime(logits) {
                let buffer = UnsafeMutableBufferPointer(start: logits.floats, count: logits.count)
                penalizeRepetition(of: text.all, options.repetitionPenalty, in: buffer)
                return try sampleToken(logits: UnsafeBufferPointer(buffer), options: options, stream: &stream)
            }
            if text.settings.endTokens.contains(token) { return text.result.end = .endToken }
            text.result.tokens.append(token)
            if try !receive(token) { return text.result.end = .stopped }
            if let end = text.endByLength(text.result.tokens.count) { return text.result.end = end }
            pending = [token]
        }
    }

    /// The caches of `parents`, by their places, the first with the others beside it. One that is several's parent is
    /// copied for all but the first.
    private static func caches(_ caches: [KeyValueCache], of parents: [Int]) -> [KeyValueCache] {
        caches[0].beside = []
        var taken: Set<Int> = []
        let chosen = parents.map { taken.insert($0).inserted ? caches[$0] : caches[$0].copy() }
        chosen[0].beside = Array(chosen.dropFirst())
        return chosen
    }

    private func search(
        _ options: BeamOptions, _ text: inout GeneratedText, _ cache: KeyValueCache, from reused: Int,
        shouldStop: () -> Bool, receive: (Int32) throws -> Bool
    ) throws {
        var search = BeamSearch(options, text)
        var pending = Array(text.prompt[reused...])
        var caches = [cache]
        while true {
            let logits = try logits(pending, caches[0])
            if shouldStop() {
                text.result.end = .stopped
                break
            }
            let parents = try withExtendedLifetime(logits) {
                try search.advance(UnsafeMutableBufferPointer(start: logits.floats, count: logits.count))
            }
            guard let parents else { break }
            caches = Self.caches(caches, of: caches.count == 1 ? parents.map { _ in 0 } : parents)
            pending = search.lastTokens
        }
        let isStopped = text.result.end == .stopped
        (text.result.tokens, text.result.end) = search.best
        if isStopped { text.result.end = .stopped }
        for token in text.result.tokens {
            if try !receive(token) { break }
        }
    }
}

extension Model {
    /// The longest beginning of a prompt's beginning that ends within no picture, and the pictures in it.
    fileprivate func wholeImages(in tokens: ArraySlice<Int32>) -> (count: Int, images: Int) {
        guard let facts = imageFacts else { return (tokens.count, 0) }
        let count = tokens.count { $0 == facts.token }
        let rest = count % facts.tokenCount
        if rest == 0 { return (tokens.count, count / facts.tokenCount) }
        let places = tokens.indices.filter { tokens[$0] == facts.token }
        return (places[count - rest] - tokens.startIndex, count / facts.tokenCount)
    }
}

/// A text that is being generated.
struct GeneratedText {
    let prompt: [Int32]
    /// Positions of the model.
    let positions: Int
    let settings: GenerationSettings
    var result = GenerationResult()

    /// The prompt and what was generated.
    var all: [Int32] { prompt + result.tokens }

    /// Why so many generated tokens are as many as there can be; nil where they are not.
    func endByLength(_ count: Int) -> GenerationEnd? {
        if count >= settings.limit { return .tokenLimit }
        // The last position's output is a token too.
        return prompt.count + count > positions ? .positionLimit : nil
    }
}

/// Continues `prompt` token by token, gates applied at every token, with a cache of keys and values.
///
/// - Parameters:
///   - prompt: at least one token, and no more than the model has positions.
///   - limit: the most tokens to generate.
///   - endTokens: tokens that end the text.
///   - options: how tokens are chosen.
///   - receive: is handed each token as it comes; returns false to stop.
package func generate(
    _ model: any Model, prompt: [Int32], limit: Int, endTokens: Set<Int32>, _ options: SamplingOptions,
    receive: (Int32) throws -> Bool = { _ in true }
) throws -> GenerationResult {
    var settings = GenerationSettings(limit: limit, endTokens: endTokens)
    settings.sampling = options
    return try Generator(model).run(prompt, settings, receive: receive)
}
