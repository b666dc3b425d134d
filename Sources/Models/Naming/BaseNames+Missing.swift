import TensorCore

extension BaseNames {
    /// Ends of the names of input embeddings.
    private static let embeddingNames: NameSet = [
        "embed_tokens", "wte", "word_embeddings", "embed_in", "shared", "tok_embeddings", "tokens_embed",
        "token_embedding",
        "embeddings", "word_embedding", "word_emb",
    ]

    /// Whether a module of this name is an input embedding.
    static func isEmbeddingName(_ name: String) -> Bool { embeddingNames.contains(name) }

    /// The input embedding among tensors: a matrix of a known name outside of layers and of towers.
    static func embedding(among tensors: [NamedShape]) -> String? {
        let named = tensors.filter { tensor in
            guard tensor.shape.count == 2, tensor.name.hasSuffix(".weight") else { return false }
            let module = NamePath.parent(tensor.name).parent
            guard embeddingNames.contains(NamePath.parent(module).last), NamePath.split(module).rest.isEmpty else {
                return false
            }
            let components = NamePath.components(module)
            return !components.contains {
                NameWords.vision.contains($0) || NameWords.audio.contains($0) || NameWords.auxiliary.contains($0)
            }
        }
        // T5 has copies beside `shared`.
        return named.first { $0.name == "shared.weight" }?.name ?? named.first?.name
    }

    /// Whether a path is that of an output head which can be tied.
    func isHead(_ path: String) -> Bool {
        let components = NamePath.components(path)
        guard let last = components.last, NamePath.split(path).rest.isEmpty else { return false }
        if let known = tiedHeadKind { return path == known.module }
        return NameWords.heads.contains(last) || path.hasSuffix("predictions.decoder")
    }

    /// Whether the base has an output head of its own.
    var hasHead: Bool {
        prefixes.layerCounts.keys.contains { isHead($0) && shapes["\($0).weight"] != nil }
    }

    /// What a head would be called beside the base's names.
    func headName(_ key: String) -> String {
        if let known = tiedHeadKind { return known.module + ".weight" }
        for family in families where modelTypes.isEmpty == false {
            if let name = family.filesName(of: key) { return name }
        }
        for wrapper in ["language_model", "text_model"] where embedding?.hasPrefix("\(wrapper).model.") == true {
            return "\(wrapper).lm_head.weight"
        }
        return NamePath.joined(NamePath.components(key).drop { NameWords.neutral.contains($0) })
    }

    /// What a saved value is whose tensor the base lacks.
    func placeWithoutTensor(of key: String, module: String) throws(NamingError) -> SavedPlace {
        if let embedding, key.hasSuffix(".weight") {
            if isHead(module), saysTied != false { return .tied(head: headName(key), embedding: embedding) }
            if let shared, let copy = shared.copy(of: key) {
                return shared.canBeUntied ? .tied(head: copy, embedding: shared.original) : .existing(shared.original)
            }
            // Both halves of T5 have the shared embedding under names of their own.
            if embedding == "shared.weight", NamePath.parent(module).last == "embed_tokens" {
                return .existing(embedding)
            }
        }
        // The head of a masked language model has its bias under two names.
        let (owner, last) = NamePath.parent(module)
        if last == "decoder", key.hasSuffix(".bias"), shapes["\(owner).bias"] != nil {
            return .existing("\(owner).bias")
        }
        // What a model has beside its body, and a bare model's files lack.
        let prefix = NamePath.split(module).prefix
        guard NamePath.components(String(prefix)).contains(where: NameWords.classifiers.contains) else {
            throw unknown(key)
        }
        return .new(key)
    }

    /// The error for a name that means nothing here.
    func unknown(_ name: String) -> NamingError {
        .unknown(name: name, nearest: near.nearest(to: name, among: shapes), cause: cause(of: name))
    }

    private func cause(of name: String) -> NamingCause {
        let components = NamePath.components(name)
        let (prefix, rest) = NamePath.split(name)
        if let number = NamePath.number(of: rest) {
            let known = [[String(prefix)]] + prefixes.meanings(of: String(prefix))
            let counts = known.joined().compactMap { prefixes.layerCounts[$0] ?? nil }
            if let count = counts.max() { return number >= count ? .fewerLayers(count: count) : .otherModules }
        }
        if components.contains(where: NameWords.classifiers.contains) { return .classificationHead }
        let known = NameSet(prefixes.layerCounts.keys.lazy.flatMap { NamePath.components($0).map(String.init) })
        if let part = components.first(where: { NameWords.isTower($0) && !known.contains(String($0)) }) {
            return .missingPart(String(part))
        }
        return .otherModel
    }
}
