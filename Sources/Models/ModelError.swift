import TensorCore

/// Why a checkpoint is not a model that this program can run.
package enum ModelError: WordedError, Equatable {
    /// There is no configuration; `file` says where it was looked for.
    case missingConfiguration(file: String)
    /// The architecture is not among the known ones.
    case unknownArchitecture(file: String, name: String)
    /// `model_type` and the class that `architectures` names are not of one architecture.
    case disagreeingArchitecture(file: String, modelType: String, className: String)
    /// Something needs the graph or the names of an architecture that is not among the known ones.
    case noGraph(file: String, name: String, purpose: String, fitting: [String] = [])
    /// A configuration value is absent, of the wrong kind or out of range.
    case badConfiguration(file: String, key: String, expected: String, found: String)
    /// The configuration is sound but asks for something that is not built.
    case unsupportedConfiguration(file: String, key: String, found: String, supported: String)
    /// A tensor that the architecture needs is not in the checkpoint.
    case missingTensor(file: String, tensor: String, shape: [Int])
    /// A tensor's shape is not what the configuration says.
    case wrongShape(file: String, tensor: String, expected: [Int], found: [Int])
    /// A tensor is there that contradicts the configuration.
    case unexpectedTensor(file: String, tensor: String, reason: String)
    /// Tensors lie in the layers that the graph does not read; the first, how many they are and why they may be there.
    case unreadTensors(file: String, tensor: String, count: Int, cause: UnreadCause)
    /// A weight is stored in a type without fractions.
    case weightsOfNoNumbers(file: String, tensor: String, encoding: String)
    /// A module was to be trained whole whose weight the model has twice.
    case tiedModule(file: String, module: String)
    /// A module was to be trained whole that cannot be.
    case notTrainableWhole(module: String, trainable: [String])
    /// Another program has packed the weights.
    case packedWeights(path: String, PackedQuantization)
    /// No tensor of the model is called so.
    case unknownTensor(file: String, tensor: String)
    /// A text has a token that the embedding has no row for.
    case tokenBeyondEmbedding(file: String, token: Int, rows: Int)
    /// A text is longer than the model has positions for.
    case tooManyTokens(file: String, tokens: Int, limit: Int)
    /// A head for sequences lacks a tensor that neither the base nor an adapter has.
    case missingHead(file: String, tensor: String)
    /// Several sequences were to be classified by a model that does not say which token fills up.
    case noPaddingToken(file: String)
    /// A text has another number of tokens of pictures than its pictures need.
    case otherImageTokens(file: String, tokens: Int, images: Int, each: Int)
    /// A recorded base fingerprint cannot be read back.
    case badFingerprint(problem: String)

    package var wording: Wording {
        switch self {
        case .missingConfiguration(let file): "\(file): is missing; a model directory needs its configuration"
        case .unknownArchitecture(let file, let name):
            "\(file): the architecture '\(name)' is not known; known are " + Self.known
        case .disagreeingArchitecture(let file, let modelType, let className):
            "\(file): 'model_type' and 'architectures' disagree: 'model_type' says \(Self.words(ofType: modelType)), "
                + "'architectures' says \(Self.words(ofClass: className)); known are \(Self.known)"
        case .noGraph(let file, let name, let purpose, let fitting):
            "\(file): the architecture '\(name)' is not known, which \(purpose) would need; "
                + (fitting.isEmpty
                    ? "known are " + Self.known
                    : "its tensors and fields are those of \(fitting.joined(separator: ", ")): give "
                        + "\(.architecture, fitting[0])")
        case .badConfiguration(let file, let key, let expected, let found):
            "\(file): '\(key)' is \(found); expected \(expected)"
        case .unsupportedConfiguration(let file, let key, let found, let supported):
            "\(file): '\(key)' is \(found), which tspeft cannot run; it can run \(supported)"
        case .missingTensor(let file, let tensor, let shape):
            "\(file): tensor '\(tensor)' of shape \(shape) is missing"
        case .wrongShape(let file, let tensor, let expected, let found):
            "\(file): tensor '\(tensor)' has the shape \(found); the configuration needs \(expected)"
        case .unexpectedTensor(let file, let tensor, let reason):
            "\(file): tensor '\(tensor)' is there, but \(reason)"
        case .unreadTensors(let file, let tensor, let count, let cause):
            "\(file): tensor '\(tensor)'"
                + (count > 1 ? " and \(count - 1) more lie in the layers and are" : " lies in a layer and is")
                + " not read by the model's graph; \(cause.words)"
        case .weightsOfNoNumbers(let file, let tensor, let encoding):
            "\(file): tensor '\(tensor)' is of \(encoding), which is no weight's type"
        case .tiedModule(let file, let module):
            "\(file): '\(module)' cannot be trained whole, since the model's embedding and output head are one tensor and "
                + "training one of the two would untie them; adapt projections with \(.targets) instead"
        case .notTrainableWhole(let module, let trainable):
            "'\(module)' cannot be trained whole; only " + trainable.joined(separator: " and ") + " can"
        case .packedWeights(let path, let packed):
            "\(path): its weights are quantized by \(packed.words), which tspeft can neither run nor change; "
                + packed.remedy
        case .unknownTensor(let file, let tensor): "\(file): the model has no tensor '\(tensor)'"
        case .tokenBeyondEmbedding(let file, let token, let rows):
            "\(file): the text has the token \(token), but the model's embedding has \(rows) rows, for tokens below "
                + "\(rows); the tokenizer is not this model's, or the embedding was not resized for its added tokens"
        case .tooManyTokens(let file, let tokens, let limit):
            "\(file): the text has \(tokens) tokens, but the model has positions for \(limit); limit texts with "
                + "\(.maxLength)"
        case .missingHead(let file, let tensor):
            "\(file): the head has no tensor '\(tensor)', and no adapter brings one; make an adapter that trains the "
                + "whole head with \(.modulesToSave)"
        case .noPaddingToken(let file):
            "\(file): 'pad_token_id' is missing, without which the last token of a text is not known in a batch of several; "
                + "set it in the model's configuration, or set \(.batchSize) to 1"
        case .otherImageTokens(let file, let tokens, let images, let each):
            "\(file): a text has \(tokens) tokens of pictures, but its \(images) pictures need \(each) each"
        case .badFingerprint(let problem): "the recorded base fingerprint cannot be read: \(problem)"
        }
    }

    /// The architectures that there are graphs of.
    private static var known: String { ArchitectureTable.all.map { $0.names.known }.joined(separator: ", ") }

    private static func words(ofType name: String) -> String {
        let type = ArchitectureTable.all.first { $0.names.modelType == name }
        return type.map { "'\(name)', whose class is \($0.names.className)" } ?? "'\(name)', which is not known"
    }

    private static func words(ofClass name: String) -> String {
        let type = ArchitectureTable.all.first { $0.names.className == name }
        return type.map { "'\(name)', which is that of '\($0.names.modelType)'" } ?? "'\(name)', which is not known"
    }

    /// Whether a checkpoint with this problem can be worked on by its tensors' names and shapes: it is no damage, but
    /// something that this program's graphs do not know.
    var leavesNamesAndShapes: Bool {
        switch self {
        case .missingConfiguration, .unknownArchitecture, .disagreeingArchitecture, .unsupportedConfiguration,
            .unexpectedTensor, .unreadTensors, .weightsOfNoNumbers, .packedWeights:
            true
        default: false
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .missingConfiguration: .missingInput
        case .unknownArchitecture, .noGraph, .disagreeingArchitecture, .unsupportedConfiguration, .tiedModule,
            .notTrainableWhole, .weightsOfNoNumbers, .packedWeights, .unreadTensors(_, _, _, .otherArchitecture):
            .unsupported
        case .badConfiguration, .missingTensor, .wrongShape, .unexpectedTensor, .unknownTensor, .tokenBeyondEmbedding,
            .tooManyTokens, .missingHead, .noPaddingToken, .otherImageTokens, .badFingerprint, .unreadTensors:
            .badData
        }
    }
}
