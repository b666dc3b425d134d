import TensorCore

/// An embedding that files hold once, and that the halves of a model, an encoder and a decoder, read under names of their
/// own. What is called `shared` is read by none of them by that name.
struct SharedEmbedding: Sendable {
    /// The tensor in the files.
    let original: String
    /// Names of the halves' tensors, which the files lack.
    let copies: [String]
    /// Whether the model reads each of them where `tie_word_embeddings` is false.
    let canBeUntied: Bool

    /// The parts of a path by which halves go.
    private static let halves = ["encoder", "decoder", "text_encoder", "text_decoder"]
    private static let name = "shared"

    /// The shared embedding among tensors; nil for none.
    init?(_ shapes: NameTable<[Int]>, _ prefixes: PrefixIndex, modelType: String?) {
        let weight = ".weight"
        let found = prefixes.layerCounts.keys.filter {
            NamePath.parent($0).last.hasSameBytes(as: Self.name) && shapes[$0 + weight]?.count == 2
        }
        guard found.count == 1, let module = found.first else { return nil }
        let stem = NamePath.parent(module).parent
        original = module + weight
        copies = Self.halves.compactMap { half in
            let path = NamePath.path(stem, half)
            let copy = path + ".embed_tokens" + weight
            let isThere = prefixes.layerCounts.keys.contains { $0.hasPrefix(path + ".") }
            return isThere && shapes[copy] == nil ? copy : nil
        }
        guard !copies.isEmpty else { return nil }
        canBeUntied = TiedHeads.sharesEmbedding(modelType)
    }

    /// The half's tensor that a key means.
    func copy(of key: String) -> String? {
        let fitting = copies.filter { $0.hasSameBytes(as: key) || $0.hasSuffix("." + key) || key.hasSuffix("." + $0) }
        return fitting.count == 1 ? fitting.first : nil
    }
}

extension BaseNames {
    /// An embedding of the files that halves of the model read under other names, and these names: an update of it by its
    /// own name changes nothing that the model computes.
    package var sharedEmbedding: (original: String, copies: [String])? { shared.map { ($0.original, $0.copies) } }

    /// Whether a tensor is a half's name for the embedding that the files hold once.
    package func isHalf(_ tensor: String) -> Bool {
        shared?.copies.contains { $0.hasSameBytes(as: tensor) } ?? false
    }

    /// What an update of a half's embedding becomes, which the files hold as a shared one: that tensor, and what the half's
    /// own is called. Nil for anything else; throws `.sharedEmbedding` where the model cannot have it apart.
    package func half(at path: String) throws(NamingError) -> (original: String, copy: String)? {
        let key = path + ".weight"
        guard let shared, existing(key) == nil, let copy = shared.copy(of: key) else { return nil }
        guard shared.canBeUntied else { throw .sharedEmbedding(name: path, tensor: shared.original) }
        return (shared.original, copy)
    }

    /// How many first rows of the checkpoint's a tensor lacks.
    package func rowsDropped(of tensor: String) -> Int {
        droppedRows.map { $0.name.hasSameBytes(as: tensor) ? $0.count : 0 } ?? 0
    }

    /// Whether the base has a tensor of this shape.
    package func holds(_ tensor: String, _ shape: [Int]) -> Bool { shapes[tensor] == shape }

    /// Whether a module of this name is a table of tokens, positions or the like.
    private static func isTable(_ name: String) -> Bool {
        isEmbeddingName(name) || name == "wpe" || name.contains("position") || name.contains("embeddings")
    }

    /// Whether a tensor is an embedding of tokens that an output head may be, of which the files and this program know
    /// nothing: then changing the one would change the other.
    package func mayBeHead(_ tensor: String) -> Bool {
        guard mayTieHead, let shape = shapes[tensor], shape.count == 2 else { return false }
        let module = NamePath.parent(tensor).parent
        guard Self.isEmbeddingName(NamePath.parent(module).last), NamePath.split(module).rest.isEmpty else {
            return false
        }
        // A matrix over as many tokens that is no embedding is the head.
        return !shapes.contains { name, other in
            let owner = NamePath.parent(name).parent
            return other == shape && !name.hasSameBytes(as: tensor) && NamePath.split(owner).rest.isEmpty
                && !Self.isTable(NamePath.parent(owner).last)
        }
    }
}
