import Adapters
import Compute
import Models
import TensorCore
import Tokenization

/// Where an adapter comes from that a model gets.
enum AdapterSource {
    /// From the disk.
    case stored(String)
    /// It is made as `inject` makes it.
    case new(InjectRequest)

    /// The adapter, checked against the base: a new one as it would be read where `inject` had written it.
    func directory(for base: ModelCheckpoint, basePath: String) throws -> AdapterDirectory {
        let read: AdapterDirectory
        switch self {
        case .stored(let path): read = try AdapterDirectory.read(path)
        case .new(let request): read = try makeAdapter(request, base).directory.asRead()
        }
        if try base.configuration.task == nil { try read.checkIsOfLanguageModel() }
        let directory = try read.validated(against: base.modules(for: read.configuration))
        try read.check(base: try base.fingerprint(), basePath: basePath)
        _ = try read.wholeModules(of: base)
        return directory
    }

    /// The base as the adapter takes it: with the head for sequences that the adapter brings, where it brings one.
    ///
    /// Of an adapter whose directory does not name the classes, such as peft's, the base does, or else they are as many
    /// as the head has rows.
    static func openBase(_ path: String, for source: AdapterSource?) throws -> ModelCheckpoint {
        switch source {
        case nil: return try ModelCheckpoint.open(path)
        case .new(let request)?: return try ModelCheckpoint.open(path, as: request.task)
        case .stored(let adapterPath)?:
            let adapter = try AdapterDirectory.read(adapterPath)
            if let task = adapter.origin.task { return try ModelCheckpoint.open(path, as: task) }
            let base = try ModelCheckpoint.open(path)
            guard let told = adapter.task, told.type == "SEQ_CLS", let count = told.labelCount,
                base.architecture?.configuration.task == nil
            else { return base }
            return try ModelCheckpoint.open(path, as: count == 1 ? .regression : SequenceTask(classCount: count))
        }
    }

    /// What is read for it.
    var paths: [String] {
        switch self {
        case .stored(let path): [path]
        case .new(let request): request.inputPaths
        }
    }
}

/// A base model, opened and loaded for computing, and perhaps an adapter in it.
package final class ModelSession {
    /// The base as given.
    package let basePath: String
    /// The checkpoint, seen by Hugging Face names.
    package let checkpoint: ModelCheckpoint
    /// Type, memory and threads.
    package let context: ComputeContext
    /// The model, with the adapter where there is one.
    package let model: any Model
    /// Text to tokens.
    package let tokenizer: Tokenizer
    /// What the model's `generation_config.json` says.
    let generation: GenerationDefaults
    /// The adapter as its directory has it; nil for the bare base.
    package private(set) var directory: AdapterDirectory?
    /// The adapter in the model.
    package private(set) var adapter: InjectedAdapter?

    /// Opens `basePath` and loads the weights; checks and injects the adapter at `adapterPath` where one is given.
    /// `chatTemplate` is as `Tokenizer.load` takes it; a model with a head for sequences is refused unless
    /// `allowsSequences`.
    ///
    /// The adapter is read and checked first, so that a mistake there costs no time. Throws what reading and checking
    /// them throws.
    package convenience init(
        basePath: String, adapterPath: String? = nil, _ compute: ComputeOptions, chatTemplate: String? = nil,
        allowsSequences: Bool = false
    ) throws {
        try self.init(
            basePath: basePath, adapterPath.map { .stored($0) }, compute, chatTemplate: chatTemplate,
            allowsSequences: allowsSequences)
    }

    /// The same with an adapter that is stored or made for it.
    init(
        basePath: String, _ source: AdapterSource?, _ compute: ComputeOptions, chatTemplate: String? = nil,
        allowsSequences: Bool = false
    ) throws {
        self.basePath = basePath
        checkpoint =
            try compute.architecture.map { try ModelCheckpoint.open(basePath, as: $0) }
            ?? AdapterSource.openBase(basePath, for: source)
        try checkpoint.checkRuns()
        if !allowsSequences, try checkpoint.configuration.task != nil {
            let path = source?.paths.first ?? basePath
            throw WorkflowError.unsupported("\(path): it has a head for sequences and gives no text; eval scores it")
        }
        // It limits the threads, those that read the adapter too.
        context = try compute.makeContext()
        generation = try GenerationDefaults(beside: checkpoint.checkpoint)
        directory = try source?.directory(for: checkpoint, basePath: basePath)
        tokenizer = try Tokenizer.load(modelPath: basePath, chatTemplate: chatTemplate)
        model = try checkpoint.makeModel(context)
        if let vocabularyNote { compute.note("\(basePath): \(vocabularyNote)") }
        if let directory {
            adapter = try InjectedAdapter(
                into: model, directory.configuration, tensors: directory.allTensors, thresholds: directory.thresholds,
                source: directory.displayName)
        }
    }

    /// What `body` computes over the base, whose weights are read where they lie. Throws `CheckpointError.inputChanged`
    /// where one of the base's files was written to meanwhile, whatever `body` came to: neither a result of a mixture
    /// nor an error of one, such as a loss that is not finite, says anything of the model.
    package func overUnchangedBase<R>(_ body: () throws -> R) throws -> R {
        let outcome = Result { try body() }
        try checkpoint.checkUnchanged()
        return try outcome.get()
    }

    /// Tokens that end a text: the configuration's, the tokenizer's and those of `generation_config.json`.
    package var endTokens: Set<Int32> { Self.endTokens(model.configuration, generation, tokenizer) }

    /// The same, before a model is loaded.
    static func endTokens(
        _ configuration: ModelConfiguration, _ generation: GenerationDefaults, _ tokenizer: Tokenizer
    ) -> Set<Int32> {
        Set(
            configuration.eosTokenIDs.compactMap(Int32.init(exactly:)) + generation.endTokens
                + [tokenizer.eosTokenID].compactMap { $0 })
    }

    /// Tokens that end an answer in a chat: those that end a text, and the one by which the chat template ends a turn.
    package var chatEndTokens: Set<Int32> {
        let end = tokenizer.chatTemplate?.endOfTurn.map { tokenizer.encode($0) } ?? []
        return end.count == 1 && tokenizer.isSpecial(end[0]) ? endTokens.union(end) : endTokens
    }

    /// What to say at opening of a tokenizer that can give ids which the model's embedding has no row for; nil where it
    /// cannot.
    package var vocabularyNote: String? {
        Self.vocabularyNote(tokenizer, rows: model.configuration.vocabularySize)
    }

    /// The same, before a model is loaded.
    static func vocabularyNote(_ tokenizer: Tokenizer, rows: Int) -> String? {
        guard tokenizer.vocabularySize > rows else { return nil }
        let first = (rows..<tokenizer.vocabularySize).first { !tokenizer.spelling(of: Int32($0)).isEmpty }
        return
            "the tokenizer has ids up to \(tokenizer.vocabularySize - 1), but the model's embedding has \(rows) rows; "
            + "input with a token beyond them"
            + (first.map { ", such as '\(tokenizer.spelling(of: Int32($0)))'," } ?? "") + " is refused"
    }

    /// Throws `unsuitableData` for a prompt with a token that the model's embedding has no row for.
    func checkVocabulary(of prompt: [Int32]) throws(WorkflowError) {
        guard let problem = tokenizer.strangeToken(in: prompt, rows: model.configuration.vocabularySize) else { return }
        throw .unsuitableData(path: basePath, problem: "the prompt \(problem)")
    }
}
