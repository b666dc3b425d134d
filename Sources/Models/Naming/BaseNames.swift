import CheckpointIO

// How to use it: `BaseNames(tensors, modelType:, configuration:)` once a base, `.fitted(to:)` with all matrices of the
// adapter (it settles between two readings of the adapter's prefix by which one fits all of them), then `places(of:)` or
// `tensor(for:)` for each. A path is the module's without wrappers and without the adapter's part
// (`model.layers.0.self_attn.q_proj`); a key is a tensor's name in the same way (`model.embed_tokens.weight`).

/// The tensors of a base by their own names, and what an adapter's names mean among them.
///
/// A name is looked for as it is; then as the model type's other naming has it (`NamingTable`); then with wrappers' prefixes
/// added or left out (`PrefixIndex`). Where several tensors fit equally well, nothing is chosen.
package struct BaseNames: Sendable {
    /// Shapes by name.
    let shapes: [String: [Int]]
    /// `model_type`s, the whole model's first, then those of its parts.
    let modelTypes: [String]
    let prefixes: PrefixIndex
    /// Families of these model types; all of them where there is no model type.
    let families: [NamingFamily]
    /// The input embedding, where the base has one of a known name.
    let embedding: String?
    /// What `tie_word_embeddings` says.
    let saysTied: Bool?
    /// Whether the model's class has an output head; nil where no class is named.
    let isHeaded: Bool?
    /// Whether layers that bear `Conv1D`'s names are stored [in, out], as their biases tell.
    let conv1DEvidence: Bool?
    private var chosen: [String: String] = [:]
    private var meanings: [String: [[String]]] = [:]

    /// The base's tensors; `modelType` and `configuration` are those of `config.json`, nil where there is none.
    package init(_ tensors: [NamedShape], modelType: String?, configuration: JSONValue?) {
        shapes = Dictionary(tensors.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
        var types = modelType.map { [$0] } ?? []
        for (_, value) in configuration?.objectValue?.members ?? [] {
            if let type = value["model_type"]?.stringValue, !types.contains(type) { types.append(type) }
        }
        modelTypes = types
        families =
            types.isEmpty
            ? NamingTable.families : NamingTable.families.filter { !$0.modelTypes.isDisjoint(with: types) }
        prefixes = PrefixIndex(modules: tensors.lazy.map { NamePath.parent($0.name).parent }, modelType: modelType)
        embedding = Self.embedding(among: tensors)
        saysTied =
            (configuration?["tie_word_embeddings"] ?? configuration?["text_config"]?["tie_word_embeddings"])?.boolValue
        let classes = configuration?["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
        isHeaded =
            classes.isEmpty ? nil : classes.contains { name in NameWords.headedClasses.contains { name.hasSuffix($0) } }
        conv1DEvidence = Conv1DModules.evidence(among: tensors, shapes: shapes)
    }

    /// The same names, with each prefix that the adapter could mean in several ways read in the one way that fits all of
    /// `matrices`, where there is exactly one.
    package func fitted(to matrices: [SizedMatrix]) -> BaseNames {
        var copy = self
        for variant in variants {
            var groups: [String: [(path: String, matrix: SizedMatrix)]] = [:]
            for matrix in matrices {
                guard let path = variant(matrix.matrix.path) else { continue }
                groups[String(NamePath.split(path).prefix), default: []].append((path, matrix))
            }
            for (prefix, group) in groups {
                let lists = prefixes.meanings(of: prefix)
                copy.meanings[prefix] = lists
                guard let several = lists.first(where: { $0.count > 1 }) else { continue }
                let fitting = several.filter { candidate in
                    group.allSatisfy { path, matrix in
                        let moved = NamePath.path(candidate, NamePath.split(path).rest)
                        return ((try? probe(matrix, at: moved, families)) ?? nil) != nil
                    }
                }
                if fitting.count == 1 { copy.chosen[prefix] = fitting[0] }
            }
        }
        return copy
    }

    /// Where a matrix lies, one list for each expert (one list for all else). `outputSize` and `inputSize` are those of the
    /// update, for each expert; of an embedding the vocabulary and the width; of a convolution `inputSize` is in * k...
    package func places(
        of matrix: AdaptedMatrix, outputSize: Int, inputSize: Int
    ) throws(NamingError) -> [[MatrixPlace]] {
        let sized = SizedMatrix(matrix, outputSize: outputSize, inputSize: inputSize)
        let found = try resolve(matrix.path) { (path, families) throws(NamingError) in
            try probe(sized, at: path, families)
        }
        if let found { return found }
        if case .linear(let path) = matrix, isHead(path), let embedding, saysTied != false {
            throw .tiedHead(name: path, embedding: embedding)
        }
        throw unknown(matrix.path)
    }

    /// The base's tensor that a key means; nil where it has none, for those who can do without.
    package func existing(_ key: String) -> String? {
        if shapes[key] != nil { return key }
        let (module, last) = NamePath.parent(key)
        let found = try? resolve(module) { (path, _) throws(NamingError) -> String? in
            let name = NamePath.path(path, last)
            return shapes[name] == nil ? nil : name
        }
        return found ?? nil
    }

    /// The base's tensor that a saved value takes the place of, or what it is beside them.
    package func tensor(for key: String) throws(NamingError) -> SavedPlace {
        if shapes[key] != nil { return .existing(key) }
        let (module, last) = NamePath.parent(key)
        let found = try resolve(module) { (path, _) throws(NamingError) in
            let name = NamePath.path(path, last)
            return shapes[name] == nil ? nil : name
        }
        if let found { return .existing(found) }
        return try placeWithoutTensor(of: key, module: module)
    }

    /// The head and the embedding that it is tied to, where the base has no head of its own and is a model with one: a bare
    /// model has none, whatever its configuration says of ties.
    package var tiedHead: (head: String, embedding: String)? {
        guard isHeaded ?? (saysTied == true), saysTied != false, let embedding, !hasHead else { return nil }
        return (headName("lm_head.weight"), embedding)
    }
}

extension BaseNames {
    /// A path as it is, and as each family's other naming has it.
    private var variants: [(String) -> String?] {
        families.reduce(into: [{ $0 }]) { all, family in
            all.append { family.filesName(of: $0) }
            all.append { family.modelName(of: $0) }
        }
    }

    /// What `probe` finds under the readings of `path`: the likeliest for which it finds anything.
    private func resolve<Value: Equatable>(
        _ path: String, probe: (String, [NamingFamily]) throws(NamingError) -> Value?
    ) throws(NamingError) -> Value? {
        if mayHold(path), let found = try probe(path, families) { return found }
        if let found = try resolve(path, in: families, probe: probe) { return found }
        // A base that does not say what it is may name its modules as a type that the table knows.
        guard modelTypes.isEmpty else { return nil }
        guard families.count < NamingTable.families.count else { return nil }
        return try resolve(path, in: NamingTable.families, probe: probe)
    }

    private func resolve<Value: Equatable>(
        _ path: String, in families: [NamingFamily], probe: (String, [NamingFamily]) throws(NamingError) -> Value?
    ) throws(NamingError) -> Value? {
        var forms = [path]
        for family in families {
            for form in [family.filesName(of: path), family.modelName(of: path)].compactMap(\.self)
            where !forms.contains(form) {
                forms.append(form)
            }
        }
        if let found = try only(path, forms.filter(mayHold), families, probe) { return found }
        let lists = forms.map { form in
            let (prefix, rest) = NamePath.split(form)
            return meanings(of: String(prefix)).map { $0.map { NamePath.path($0, rest) } }
        }
        for level in 0..<(lists.map(\.count).max() ?? 0) {
            let candidates = lists.flatMap { level < $0.count ? $0[level] : [] }
            if let found = try only(path, candidates, families, probe) { return found }
        }
        return nil
    }

    /// The one thing that is found at any of `candidates`; a candidate of another shape counts where there is no other.
    private func only<Value: Equatable>(
        _ name: String, _ candidates: [String], _ families: [NamingFamily],
        _ probe: (String, [NamingFamily]) throws(NamingError) -> Value?
    ) throws(NamingError) -> Value? {
        var found: [(path: String, value: Value)] = []
        var problem: NamingError?
        for candidate in candidates {
            do throws(NamingError) {
                guard let value = try probe(candidate, families) else { continue }
                if !found.contains(where: { $0.value == value }) { found.append((candidate, value)) }
            } catch {
                problem = problem ?? error
            }
        }
        if found.count > 1 { throw .ambiguous(name: name, candidates: found.map(\.path)) }
        if let found = found.first { return found.value }
        if let problem { throw problem }
        return nil
    }

    /// Whether any tensor can lie at a path: those of layers need their prefix.
    private func mayHold(_ path: String) -> Bool {
        let (prefix, rest) = NamePath.split(path)
        return rest.isEmpty || prefixes.layerCounts[String(prefix)] != nil
    }

    /// The prefixes that `prefix` may mean, down to one where `fitted(to:)` chose.
    private func meanings(of prefix: String) -> [[String]] {
        let lists = meanings[prefix] ?? prefixes.meanings(of: prefix)
        guard let choice = chosen[prefix] else { return lists }
        return lists.map { $0.contains(choice) ? [choice] : $0 }
    }

    /// The places of a matrix that lies at `path` exactly; nil where nothing of that name is there.
    private func probe(
        _ sized: SizedMatrix, at path: String, _ families: [NamingFamily]
    ) throws(NamingError) -> [[MatrixPlace]]? {
        let probe = PlaceProbe(base: self, families: families, name: sized.matrix.path)
        let update = UpdateSize(rows: sized.outputSize, columns: sized.inputSize)
        switch sized.matrix {
        case .linear: return try probe.linear(path, update).map { [$0] }
        case .embedding: return try probe.embedding(path, update).map { [$0] }
        case .convolution: return try probe.convolution(path, update).map { [$0] }
        case .parameter(_, let name, let count):
            return try probe.parameter(path, name: name, count: count, update)
        }
    }
}
