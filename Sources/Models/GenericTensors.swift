import CheckpointIO
import Glibc
import TensorCore

/// What the tensors of any checkpoint are to their model, as far as names and shapes tell: for a model whose graph is not
/// known. Every tensor goes by the name that it has in the file, in the order of the files; in a GGUF file of an
/// architecture whose names are known (`GGUFNames`) by Hugging Face's name.
///
/// - A matrix called `X.weight` is the weight of a linear module X, unless its name is that of an embedding, a norm, a
///   convolution or the output head (`GenericNames`), or its elements are packed integers.
/// - What such a GGUF file has beyond known names keeps its own and is nothing that an adapter could mean: the order of its
///   rows is not known.
/// - The embedding of tokens and the output head are told by name, and by the vocabulary's size where `config.json` has
///   it. A head that is not there, or is the embedding once more, is tied to it.
/// - A linear module is stored as [inputSize, outputSize] (GPT-2's `Conv1D`) where the model's type says so
///   (`Conv1DModules`), or its bias fits the columns and not the rows. A square one, or one without a bias, follows the
///   others of its name.
struct GenericTensors {
    /// Every tensor of the checkpoint, and a tied head behind them.
    let specifications: ModelTensors
    /// Where the tensors of the checkpoint lie, by the model's names, in the order of the files.
    let records: [(name: String, record: TensorRecord)]

    /// Looks at all names and shapes; reads tensors only to see whether a head is the embedding. Throws what that throws.
    init(_ checkpoint: Checkpoint) throws {
        let isGGUF = checkpoint.layout == .gguf
        let facts = GenericConfiguration(checkpoint.configuration)
        let (ggufNames, counterparts) = Self.counterparts(checkpoint)
        let names = checkpoint.tensors.map { GenericNames($0, name: counterparts[$0.name]?.name) }
        let all = NameSet(names.map(\.name))
        let embedding = Self.embedding(names, facts)
        let head = Self.head(names, embedding, facts)
        let transposed = isGGUF ? [] : Self.transposed(names, checkpoint, facts)
        let mixture = MixtureModules(
            names.lazy.filter { $0.layer != nil }.map { $0.isWeight || $0.isBias ? $0.module : $0.name },
            modelType: facts.modelType)
        var specifications: [TensorSpecification] = []
        specifications.reserveCapacity(names.count + 1)
        for name in names {
            let record = name.record
            let counterpart = counterparts[record.name]
            let role: TensorRole =
                embedding?.name.hasSameBytes(as: name.name) == true
                ? .embedding
                : head?.name.hasSameBytes(as: name.name) == true
                    ? .outputHead : ggufNames != nil && counterpart == nil ? .other : Self.role(name, all)
            var tensor = TensorSpecification(
                name: name.name, ggufName: isGGUF ? record.name : nil, module: name.module, part: name.part,
                layer: name.layer, shape: record.shape, role: role,
                ggufRows: counterpart?.form.rows ?? .asInHuggingFace,
                tiedTo: role == .outputHead ? try Self.tied(record, to: embedding, checkpoint, facts) : nil,
                isTransposed: role == .projection && transposed.contains(name.name))
            tensor.isOfMixture = tensor.role == .projection && mixture.contain(name.module)
            if let form = counterpart?.form { (tensor.ggufColumns, tensor.ggufValues) = (form.columns, form.values) }
            specifications.append(tensor)
        }
        if head == nil, let embedding, facts.tiesHead || isGGUF && ggufNames?.hasLanguageHead ?? true {
            let module = isGGUF && ggufNames == nil ? ModulePart.outputHead.gguf : facts.headPath
            let name = CheckpointNames.weight(of: module)
            specifications.append(
                TensorSpecification(
                    name: name, ggufName: isGGUF ? ggufNames.map { $0.ggufName(of: name) } ?? name : nil,
                    module: module, part: module, layer: nil, shape: embedding.record.shape, role: .outputHead,
                    ggufRows: .asInHuggingFace, tiedTo: embedding.name))
        }
        self.specifications = ModelTensors(specifications)
        records = names.map { ($0.name, $0.record) }
    }

    /// The table of names of a GGUF file, and what it says of each of the file's tensors, by the file's names. None
    /// where a tensor's own name is another's by the table.
    private static func counterparts(_ checkpoint: Checkpoint) -> (GGUFNames?, NameTable<GGUFCounterpart>) {
        guard let names = GGUFNames(of: checkpoint) else { return (nil, [:]) }
        var counterparts: NameTable<GGUFCounterpart> = [:]
        for tensor in checkpoint.tensors { counterparts[tensor.name] = names.counterpart(of: tensor) }
        let isClear = counterparts.values.allSatisfy { checkpoint.record($0.name) == nil }
        return (names, isClear ? counterparts : [:])
    }

    private static func role(_ name: GenericNames, _ all: NameSet) -> TensorRole {
        if name.isLinear { return .projection }
        if name.isNorm { return .norm }
        if name.isExperts { return .experts }
        if name.isQuantized { return .quantized }
        if name.isBias, all.contains(CheckpointNames.weight(of: name.module)) { return .bias }
        return .other
    }

    // MARK: Embedding and head

    /// The embedding of tokens: outside the layers, of the vocabulary's size, of the most usual name.
    private static func embedding(_ names: [GenericNames], _ facts: GenericConfiguration) -> GenericNames? {
        let candidates = names.filter { $0.layer == nil && $0.embeddingPlace != nil }
        let fitting = candidates.filter { $0.record.shape[0] == facts.vocabularySize }
        return (fitting.isEmpty ? candidates : fitting).min {
            ($0.embeddingPlace ?? 0, $0.module.utf8.count) < ($1.embeddingPlace ?? 0, $1.module.utf8.count)
        }
    }

    /// The output head: outside the layers; over the vocabulary before one over classes, and the shortest path of equal
    /// names.
    private static func head(
        _ names: [GenericNames], _ embedding: GenericNames?, _ facts: GenericConfiguration
    ) -> GenericNames? {
        names.filter { name in
            guard name.layer == nil, let place = name.headPlace else { return false }
            // What may be called so without being a head has to have a row for each token.
            guard place.needsVocabulary else { return true }
            let rows = name.record.shape[0]
            return rows == facts.vocabularySize || rows == embedding?.record.shape[0]
        }.min {
            ($0.headPlace?.order ?? 0, $0.module.utf8.count) < ($1.headPlace?.order ?? 0, $1.module.utf8.count)
        }
    }

    /// The embedding's name, where the head holds the same bytes and the configuration does not deny that they are tied.
    private static func tied(
        _ head: TensorRecord, to embedding: GenericNames?, _ checkpoint: Checkpoint, _ facts: GenericConfiguration
    ) throws -> String? {
        guard facts.tying != false, let embedding, head.encoding == embedding.record.encoding,
            head.shape == embedding.record.shape
        else { return nil }
        let isSame = try checkpoint.withBytes(of: head) { left in
            try checkpoint.withBytes(of: embedding.record) { right in
                left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
            }
        }
        return isSame ? embedding.name : nil
    }

    // MARK: Transposed weights

    /// The weights that are stored as [inputSize, outputSize].
    private static func transposed(
        _ names: [GenericNames], _ checkpoint: Checkpoint, _ facts: GenericConfiguration
    ) -> NameSet {
        var found: NameSet = []
        var transposedParts: NameSet = []
        var plainParts: NameSet = []
        var open: [GenericNames] = []
        for name in names where name.isLinear {
            let (rows, columns) = (name.record.shape[0], name.record.shape[1])
            let bias = checkpoint.record(CheckpointNames.bias(of: name.module))?.elementCount
            if Conv1DModules.isTransposed(name.module, modelType: facts.modelType)
                || rows != columns && bias == columns
            {
                found.insert(name.name)
                transposedParts.insert(String(name.last))
            } else if rows != columns, bias == rows {
                plainParts.insert(String(name.last))
            } else {
                open.append(name)
            }
        }
        for name in open {
            let part = String(name.last)
            if transposedParts.contains(part), !plainParts.contains(part) { found.insert(name.name) }
        }
        return found
    }
}

/// What `config.json` says of any model, in the spellings that all of transformers' configurations share; everything may
/// be missing.
struct GenericConfiguration {
    /// Tokens that have an embedding.
    let vocabularySize: Int?
    /// `tie_word_embeddings`.
    let tying: Bool?
    /// `model_type`; empty where it is not said.
    let modelType: String
    private let className: String

    init(_ json: JSONValue?) {
        // Models of several kinds of input keep their language model's values in an object of its own.
        let places = [json, json?["text_config"], json?["llm_config"], json?["decoder"]].compactMap { $0 }
        vocabularySize = places.lazy.compactMap { $0["vocab_size"]?.integer(in: .sizes) }.first
        tying = places.lazy.compactMap { $0["tie_word_embeddings"]?.boolValue }.first
        modelType = json?["model_type"]?.stringValue ?? ""
        className = json?["architectures"]?.arrayValue?.first?.stringValue ?? ""
    }

    /// Endings of the classes that have an output head over the vocabulary.
    private static let headedClasses = [
        "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM", "ForPreTraining", "WithLMHead",
        "DoubleHeadsModel",
    ]

    /// Whether a head that is not in the files is the embedding: the configuration says so, or is silent about a class
    /// that has a head.
    var tiesHead: Bool { tying ?? Self.headedClasses.contains(where: className.contains) }

    /// The path of a head that is not in the files.
    var headPath: String {
        let usual = modelType == "mobilebert" ? "cls.predictions.decoder" : ModulePart.outputHead.path
        return TiedHeads.of(modelType)?.module ?? usual
    }
}
