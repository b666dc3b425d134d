import Glibc
import TensorCore

/// When a search with beams ends, besides at the limit of tokens; by the values of transformers' `early_stopping`.
package enum BeamPatience: Sendable, Equatable {
    /// `false`: as soon as there are as many finished texts as beams and no beam that goes on is, as it stands, better
    /// than the worst of them.
    case heuristic
    /// `true`: as soon as there are as many finished texts as beams.
    case whenFull
    /// `"never"`: when no beam can become better than the worst finished text.
    case untilHopeless
}

/// How beams are searched.
package struct BeamOptions: Sendable, Equatable {
    /// Texts that are followed at a time.
    package let count: Int
    /// A finished text's score is its log-probability divided by its length in tokens to the power of this.
    package let lengthPenalty: Double
    /// When the search ends.
    package let patience: BeamPatience

    /// Beams at most: each has keys and values of its own.
    package static let countLimit = 1024

    /// Options within their ranges.
    ///
    /// - Throws: `badSamplingOption` for a count outside of 1...1024, a length penalty that is not finite.
    package init(
        count: Int, lengthPenalty: Double = 1, patience: BeamPatience = .heuristic
    ) throws(EvaluationError) {
        guard (1...Self.countLimit).contains(count) else {
            throw .badSamplingOption(
                name: "beams", value: "\(count)", expected: "a whole number from 1 to \(Self.countLimit)")
        }
        guard lengthPenalty.isFinite else {
            throw .badSamplingOption(name: "length-penalty", value: "\(lengthPenalty)", expected: "a finite number")
        }
        self.count = count
        self.lengthPenalty = lengthPenalty
        self.patience = patience
    }
}

/// A search for the likeliest text with beams, as transformers' `generate(num_beams=N, do_sample=False)` makes it, in
/// F32 as there: the likeliest continuations of all beams go on; one that ends is scored by its log-probability over
/// its length to the power of the length penalty, if it is among the N likeliest. Of equal scores the earlier beam and
/// the lower id win, where transformers leaves the order open.
struct BeamSearch {
    /// A text that goes on.
    private struct Beam {
        var tokens: [Int32]
        /// The sum of its tokens' log-probabilities.
        var score: Float
    }

    /// A continuation of a beam.
    private struct Candidate {
        let beam: Int
        let token: Int32
        let score: Float
        var end: GenerationEnd?
    }

    /// What is added to the score of what is not to be chosen; transformers' number.
    private static let excluded: Float = -1e9

    private let options: BeamOptions
    private let text: GeneratedText
    private var beams: [Beam]
    /// The best finished texts, the best first, as many as there are beams at most.
    private var finished: [(tokens: [Int32], score: Float, end: GenerationEnd)] = []

    /// A search at its beginning.
    init(_ options: BeamOptions, _ text: GeneratedText) {
        self.options = options
        self.text = text
        // Only the first one's continuations count at first, as all are alike.
        beams = (0..<options.count).map { Beam(tokens: [], score: $0 == 0 ? 0 : Self.excluded) }
    }

    /// The last token of each beam.
    var lastTokens: [Int32] { beams.map { $0.tokens[$0.tokens.count - 1] } }

    /// The best text, and how it ended; where none has, the best beam as it stands.
    var best: (tokens: [Int32], end: GenerationEnd) {
        finished.first.map { ($0.tokens, $0.end) } ?? (beams[0].tokens, .stopped)
    }

    /// Continues the beams by a token each, and gives the beam that each goes on from; nil at the end of the search.
    ///
    /// - Parameter logits: [beams, vocabularySize], or [1, vocabularySize] at the beginning; changed.
    mutating func advance(_ logits: UnsafeMutableBufferPointer<Float>) throws(EvaluationError) -> [Int]? {
        var candidates = try likeliest(logits)
        for index in candidates.indices { candidates[index].end = end(of: candidates[index]) }
        let length = beams[0].tokens.count + 1
        for candidate in candidates.prefix(options.count) {
            if let end = candidate.end { finish(candidate, end, length: length) }
        }
        let going = candidates.enumerated().map { index, candidate in
            (index: index, score: candidate.score + (candidate.end == nil ? 0 : Self.excluded))
        }.sorted { $0.score != $1.score ? $0.score > $1.score : $0.index < $1.index }.prefix(options.count)
        beams = going.map { place in
            let candidate = candidates[place.index]
            return Beam(tokens: beams[candidate.beam].tokens + [candidate.token], score: place.score)
        }
        guard candidates.contains(where: { $0.end == nil }), canImprove(length) else { return nil }
        return going.map { candidates[$0.index].beam }
    }

    private func end(of candidate: Candidate) -> GenerationEnd? {
        if text.settings.endTokens.contains(candidate.token) { return .endToken }
        let tokens = beams[candidate.beam].tokens + [candidate.token]
        if text.settings.isEnded?(tokens) ?? false { return .stopString }
        return text.endByLength(tokens.count)
    }

    private mutating func finish(_ candidate: Candidate, _ end: GenerationEnd, length: Int) {
        let tokens = beams[candidate.beam].tokens + (end == .endToken ? [] : [candidate.token])
        let score = candidate.score / penalty(length)
        let place = finished.firstIndex { $0.score < score } ?? finished.count
        finished.insert((tokens, score, end), at: place)
        if finished.count > options.count { finished.removeLast() }
    }

    private func penalty(_ length: Int) -> Float { Float(pow(Double(length), options.lengthPenalty)) }

    /// Whether to go on, with beams of so many tokens.
    private func canImprove(_ length: Int) -> Bool {
        guard finished.count == options.count, let worst = finished.last?.score else { return true }
        switch options.patience {
        case .whenFull: return false
        case .heuristic: return beams[0].score / penalty(length) > worst
        case .untilHopeless:
            let longest = min(text.settings.limit, text.positions - text.prompt.count + 1)
            return beams[0].score / penalty(options.lengthPenalty > 0 ? longest : length) > worst
        }
    }
}

// MARK: - Candidates

extension BeamSearch {
    /// The likeliest continuations of all beams, the likeliest first: so many that as many as there are beams are left
    /// where all others end.
    private func likeliest(_ logits: UnsafeMutableBufferPointer<Float>) throws(EvaluationError) -> [Candidate] {
        let rows = beams[0].tokens.isEmpty ? 1 : beams.count
        let size = logits.count / rows
        let count = min(max(2, 1 + text.settings.endTokens.count) * options.count, size * options.count)
        var all: [Candidate] = []
        for (index, beam) in beams.enumerated() {
            let start = (rows == 1 ? 0 : index) * size
            let row = UnsafeMutableBufferPointer(rebasing: logits[start..<start + size])
            if index < rows {
                try toLogProbabilities(row)
                penalizeRepetition(of: text.prompt + beam.tokens, text.settings.sampling.repetitionPenalty, in: row)
            }
            all += Self.largest(count, of: row).map { token in
                Candidate(beam: index, token: Int32(token), score: row[token] + beam.score)
            }
        }
        // Beam by beam and in the order of scores already: equal ones stay in order.
        all.sort { left, right in
            if left.score != right.score { return left.score > right.score }
            return (left.beam, left.token) < (right.beam, right.token)
        }
        return Array(all.prefix(count))
    }

    /// Makes log-probabilities of logits.
    private func toLogProbabilities(_ row: UnsafeMutableBufferPointer<Float>) throws(EvaluationError) {
        var largest = -Float.infinity
        for (token, logit) in row.enumerated() {
            guard logit < .infinity else { throw .unusableLogits(token: token) }
            largest = max(largest, logit)
        }
        guard largest > -.infinity else { throw .unusableLogits(token: nil) }
        var sum = 0.0
        for logit in row { sum += exp(Double(logit - largest)) }
        let logSum = Float(log(sum))
        for token in row.indices { row[token] = row[token] - largest - logSum }
    }

    /// The places of the `count` largest of `values`, in no order; of equal ones the first.
    private static func largest(_ count: Int, of values: UnsafeMutableBufferPointer<Float>) -> [Int] {
        if count >= values.count { return Array(values.indices) }
        // A heap would be no faster: nearly all values are below the smallest of those that are kept.
        var kept: [Int] = []
        kept.reserveCapacity(count + 1)
        for (place, value) in values.enumerated() where kept.count < count || value > values[kept[count - 1]] {
            var index = kept.count
            while index > 0, values[kept[index - 1]] < value { index -= 1 }
            kept.insert(place, at: index)
            if kept.count > count { kept.removeLast() }
        }
        return kept
    }
}
