import TensorCore

/// Why an adapter's name means no place in a base, or more than one.
package enum NamingError: ReportableError, Equatable {
    /// The base has nothing of this name. `nearest` are up to three of its names.
    case unknown(name: String, nearest: [NearName], cause: NamingCause)
    /// Several tensors of the base fit.
    case ambiguous(name: String, candidates: [String])
    /// The tensor that the name means has a shape that the update does not fit.
    case wrongShape(name: String, tensor: String, update: [Int], found: [Int])
    /// A convolution in groups: its tensor has fewer channels than the update.
    case groupedConvolution(name: String, tensor: String, channels: Int, found: Int)
    /// The update is for another number of experts than the base has.
    case wrongExpertCount(name: String, expected: Int, found: Int)
    /// One expert is not among the `count` of the base.
    case missingExpert(name: String, tensor: String, count: Int)
    /// The layer is there, but its weight is in blocks of a quantization.
    case quantized(name: String, tensor: String)
    /// A square matrix that neither its shape nor the model's type tells the orientation of.
    case unclearOrientation(name: String, tensor: String, size: Int)
    /// A square matrix of experts of which nothing tells whether the adapter means it or its transpose.
    case unclearFactors(name: String, tensor: String)
    /// The halves of a model read one tensor, and it is not known whether they can have one each.
    case sharedEmbedding(name: String, tensor: String)
    /// The base has no head of its own.
    case tiedHead(name: String, embedding: String)
    /// The adapter does not say which of these parameters an update is for, and the shapes do not either.
    case unclearParameter(module: String, candidates: [String])

    package var description: String {
        switch self {
        case .unknown(let name, let nearest, let cause):
            "'\(name)': the base has no such module" + Self.listing(nearest) + cause.sentence
        case .ambiguous(let name, let candidates):
            "'\(name)' fits several tensors of the base: " + Self.quoted(candidates)
                + "; name the modules as the whole model does"
        case .wrongShape(let name, let tensor, let update, let found):
            "'\(name)': the update's shape \(update) does not fit tensor '\(tensor)' of the shape \(found); the adapter is "
                + "of another model"
        case .groupedConvolution(let name, let tensor, let channels, let found):
            "'\(name)': tensor '\(tensor)' has \(found) input channels where the update has \(channels): it is a "
                + "convolution in groups, into which no update can be merged"
        case .wrongExpertCount(let name, let expected, let found):
            "'\(name)': the update is for \(expected) experts, the base has \(found)"
        case .missingExpert(let name, let tensor, let count):
            "'\(name)': the expert is not among the base's (tensor '\(tensor)'); it has \(count) of this layer"
        case .quantized(let name, let tensor):
            "'\(name)': the base holds it quantized (tensor '\(tensor)'), and an update cannot be merged into that"
        case .unclearOrientation(let name, let tensor, let size):
            "'\(name)': tensor '\(tensor)' is square (\(size) by \(size)), and nothing tells whether it is stored as "
                + "[out, in] or [in, out]"
        case .unclearFactors(let name, let tensor):
            "'\(name)': the experts' matrices in tensor '\(tensor)' are square, and peft exchanged A and B of such ones up "
                + "to 0.18: by 'peft_version' of the adapter's configuration nothing tells, for this model, which way they "
                + "are meant"
        case .sharedEmbedding(let name, let tensor):
            "'\(name)': the base holds it as '\(tensor)', which other parts of the model read too, and the merge would change "
                + "them as well"
        case .tiedHead(let name, let embedding):
            "'\(name)': the base has no output head of its own; it is tied to the embedding '\(embedding)'"
        case .unclearParameter(let module, let candidates):
            "'\(module)': the adapter does not say which parameter it updates; by shape it could be "
                + Self.quoted(candidates)
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .groupedConvolution, .sharedEmbedding, .quantized, .unclearFactors: .unsupported
        default: .badData
        }
    }

    private static func quoted(_ names: [String]) -> String {
        names.map { "'\($0)'" }.joined(separator: names.count == 2 ? " and " : ", ")
    }

    private static func listing(_ names: [NearName]) -> String {
        names.isEmpty ? "" : "; nearest are " + names.map(\.description).joined(separator: ", ")
    }
}

/// The likely reason why a name is not in a base.
package enum NamingCause: Sendable, Equatable {
    /// The base has such layers, but only `count` of them.
    case fewerLayers(count: Int)
    /// The base has the layer and other modules in it.
    case otherModules
    /// A classification head that the base lacks.
    case classificationHead
    /// The name belongs to a part (a tower) that the base lacks.
    case missingPart(String)
    /// Nothing of the name is known.
    case otherModel

    /// The end of a sentence.
    var sentence: String {
        switch self {
        case .fewerLayers(let count): "; the base has \(count) such layers, and the adapter is of a deeper model"
        case .otherModules: "; the layer is there, but with other modules: the adapter is of another model"
        case .classificationHead: "; it is a classification head, which the base lacks"
        case .missingPart(let part): "; the base lacks the part '\(part)': it may be the files of a part of the model"
        case .otherModel: "; the adapter is of another model"
        }
    }
}
