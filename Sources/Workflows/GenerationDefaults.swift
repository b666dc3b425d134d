import CheckpointIO
import Evaluation
import TensorCore

/// What a model's `generation_config.json` says of how its texts are made: tokens that end one, and how the next one is
/// chosen. Of a GGUF file, what its metadata recommend, as if it were converted to a Hugging Face directory first (its end
/// tokens are its configuration's). Nothing where neither says anything.
struct GenerationDefaults: Sendable, Equatable {
    /// Tokens that end a text.
    private(set) var endTokens: [Int32] = []
    /// Whether tokens are drawn; otherwise the likeliest is taken.
    private(set) var samples = false
    /// What logits are divided by; nil where the file says nothing.
    private(set) var temperature: Double?
    /// How many of the likeliest tokens are chosen among; nil for no limit.
    private(set) var topK: Int?
    /// The probability that those have together; nil where the file says nothing.
    private(set) var topP: Double?
    /// What a token must have of the likeliest one's probability; nil where the file says nothing.
    private(set) var minP: Double?
    /// What makes the tokens of the text so far less likely; nil where the file says nothing.
    private(set) var repetitionPenalty: Double?
    /// Beams, above 1; nil where the file says nothing.
    private(set) var beamCount: Int?
    /// The power of the length by which beams' scores are divided; nil where the file says nothing.
    private(set) var lengthPenalty: Double?
    /// When a search with beams ends; nil where the file says nothing.
    private(set) var patience: BeamPatience?
    /// What is asked for beyond this, such as `typical_p 0.9`.
    private(set) var unheeded: [String] = []
    /// What says all this, for messages.
    private var source = Self.fileName

    static let fileName = "generation_config.json"
    private static let byteLimit = 1 << 20

    /// Settings of transformers that change what is written and are not heeded here, with the values at which they do
    /// nothing.
    private static let unknown: [(name: String, idle: [Double])] = [
        ("typical_p", [1]), ("top_h", []), ("epsilon_cutoff", [0]), ("eta_cutoff", [0]), ("no_repeat_ngram_size", [0]),
        ("encoder_repetition_penalty", [1]), ("num_beam_groups", [1]), ("diversity_penalty", [0]),
        ("penalty_alpha", [0]), ("min_length", [0]), ("min_new_tokens", [0]),
    ]

    /// Reads the file beside an open checkpoint. Throws `CheckpointError` for one that cannot be read, is no JSON, or
    /// has a value out of its range.
    init(beside checkpoint: Checkpoint) throws(CheckpointError) {
        guard case .huggingFace(let directory) = checkpoint.layout else {
            if let metadata = checkpoint.metadata {
                try self.init(metadata, path: checkpoint.path)
            } else {
                self.init()
            }
            return
        }
        let path = joinedPath(directory, Self.fileName)
        guard try checkedPathKind(path) == .regularFile else {
            self.init()
            return
        }
        let bytes = try readSmallFile(path, limit: Self.byteLimit)
        let json: JSONValue
        do throws(JSONError) {
            json = try JSONValue.parse(bytes)
        } catch {
            throw .malformed(file: path, problem: error.description)
        }
        try self.init(json, path: path)
    }

    /// Nothing said.
    private init() {}

    /// What a GGUF file recommends, which has no word for whether to sample.
    private init(_ metadata: GGUFMetadata, path: String) throws(CheckpointError) {
        var members: JSONObject = [:]
        for (name, key) in [
            ("temperature", "temp"), ("top_k", "top_k"), ("top_p", "top_p"), ("min_p", "min_p"),
            ("repetition_penalty", "penalty_repeat"),
        ] {
            guard let value = metadata["general.sampling." + key]?.doubleValue else { continue }
            members[name] = .number(Float(value).description)
        }
        members["do_sample"] = .bool(members.keys.contains { $0 != "repetition_penalty" })
        try self.init(.object(members), path: path)
        source = lastPathComponent(path)
    }

    /// The settings of a file's content.
    private init(_ json: JSONValue, path: String) throws(CheckpointError) {
        func number(_ name: String, _ expected: String, _ holds: (Double) -> Bool) throws(CheckpointError) -> Double? {
            guard let value = json[name], !value.isNull else { return nil }
            guard let number = value.doubleValue, number.isFinite, holds(number) else {
                throw .malformed(file: path, problem: "'\(name)' is \(value.text()); \(expected) is needed")
            }
            return number
        }
        guard json.objectValue != nil else { throw .malformed(file: path, problem: "is no JSON object") }
        let ends = json["eos_token_id"].flatMap { $0.isNull ? nil : $0.arrayValue ?? [$0] } ?? []
        for end in ends {
            guard let id = end.integer(in: .tokenIDs).flatMap(Int32.init(exactly:)) else {
                throw .malformed(
                    file: path, problem: "'eos_token_id' has \(end.text()); ids from 0 to \(Int32.max) are needed")
            }
            endTokens.append(id)
        }
        samples = json["do_sample"]?.boolValue ?? false
        temperature = try number("temperature", "a number of 0 or more") { $0 >= 0 }
        topP = try number("top_p", "a number above 0 and up to 1") { $0 > 0 && $0 <= 1 }
        let count = try number("top_k", "a whole number of 0 or more") { $0 >= 0 && $0 <= 1e9 && $0.rounded() == $0 }
        topK = count.flatMap { $0 == 0 ? nil : Int($0) }
        minP = try number("min_p", "a number from 0 to 1") { $0 >= 0 && $0 <= 1 }
        repetitionPenalty = try number("repetition_penalty", "a number above 0") { $0 > 0 }
        let beams = try number("num_beams", "a whole number from 1 to \(BeamOptions.countLimit)") {
            $0 >= 1 && $0 <= Double(BeamOptions.countLimit) && $0.rounded() == $0
        }
        beamCount = beams.flatMap { $0 == 1 ? nil : Int($0) }
        lengthPenalty = try number("length_penalty", "a finite number") { _ in true }
        switch json["early_stopping"] {
        case nil, .null?: break
        case .bool(let isEarly)?: patience = isEarly ? .whenFull : .heuristic
        case .string("never")?: patience = .untilHopeless
        case let value?:
            throw .malformed(
                file: path, problem: "'early_stopping' is \(value.text()); true, false or \"never\" is needed")
        }
        for (name, idle) in Self.unknown {
            guard let value = json[name]?.doubleValue, !idle.contains(value) else { continue }
            unheeded.append("\(name) \(value)")
        }
    }

    /// How tokens are chosen for a request: what it says itself, then what the file says. A request that gives no
    /// temperature takes the likeliest token unless the file asks for samples, and so does one that gives beams. Throws
    /// `badSamplingOption`.
    func sampling(for request: GenerateRequest) throws(EvaluationError) -> SamplingOptions {
        let samples = samples && (request.beams ?? 1) == 1
        return try SamplingOptions(
            temperature: request.temperature ?? (samples ? temperature ?? 1 : 0), topK: request.topK ?? topK,
            topP: request.topP ?? topP ?? 1, minP: request.minP ?? minP ?? 0,
            repetitionPenalty: request.repetitionPenalty ?? repetitionPenalty ?? 1, seed: request.seed)
    }

    /// How beams are searched where `count` are asked for, or else the file asks for some; nil for none, as where tokens
    /// are drawn. Throws `badSamplingOption`.
    func beams(_ count: Int?, sampling: SamplingOptions) throws(EvaluationError) -> BeamOptions? {
        let count = count ?? (sampling.temperature == 0 ? beamCount ?? 1 : 1)
        let options = try BeamOptions(
            count: count, lengthPenalty: lengthPenalty ?? 1, patience: patience ?? .heuristic)
        return count == 1 ? nil : options
    }

    /// What of the file shows in a text made for a request, a sentence each.
    func notes(on request: GenerateRequest, _ settings: GenerationSettings) -> [String] {
        let options = settings.sampling
        var notes: [String] = []
        var taken: [String] = []
        if request.temperature == nil, options.temperature > 0 { taken.append("temperature \(options.temperature)") }
        if options.temperature > 0 {
            if request.topK == nil, let topK { taken.append("top-k \(topK)") }
            if request.topP == nil, let topP, topP < 1 { taken.append("top-p \(topP)") }
            if request.minP == nil, let minP, minP > 0 { taken.append("min-p \(minP)") }
        } else if request.topK != nil || request.topP != nil || request.minP != nil {
            notes.append("at temperature 0 the likeliest token is taken, whatever top-k, top-p and min-p say")
        }
        if request.repetitionPenalty == nil, let repetitionPenalty, repetitionPenalty != 1 {
            taken.append("repetition penalty \(repetitionPenalty)")
        }
        var unheeded = unheeded
        if let beams = settings.beams {
            if request.beams == nil { taken.append("\(beams.count) beams") }
            if let lengthPenalty, lengthPenalty != 1 { taken.append("length penalty \(lengthPenalty)") }
            if let patience, patience != .heuristic {
                taken.append("early stopping \(patience == .untilHopeless ? "never" : "true")")
            }
        } else if request.beams == nil, let beamCount {
            unheeded.append("num_beams \(beamCount)" + (options.temperature > 0 ? " with samples" : ""))
        }
        if !taken.isEmpty { notes.append("as \(source) says: \(taken.joined(separator: ", "))") }
        if !unheeded.isEmpty {
            notes.append("\(source) asks for \(unheeded.joined(separator: ", ")), which is not heeded")
        }
        return notes
    }
}
