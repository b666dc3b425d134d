import CheckpointIO
import TensorCore

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
    let shapes: NameTable<[Int]>
    /// `model_type`s, the whole model's first, then those of its parts.
    let modelTypes: [String]
    let prefixes: PrefixIndex
    /// Families of these model types.
    let families: [NamingFamily]
    /// The input embedding, where the base has one of a known name.
    let embedding: String?
    /// An embedding that halves of the model read under other names.
    let shared: SharedEmbedding?
    /// Whether the model's class may have an output head that is tied, or a part of the model may.
    let mayTieHead: Bool
    /// What `tie_word_embeddings` says.
    let saysTied: Bool?
    /// Whether the model's class has an output head; nil where no class is named.
    let isHeaded: Bool?
    /// The output head of the model type, where it is tied under a name of its own.
    let tiedHeadKind: TiedHead?
    /// Whether layers that bear `Conv1D`'s names are stored [in, out], as their biases tell.
    let conv1DEvidence: Bool?
    /// Whether they are a GGUF file's, whose packed experts are [experts, out, in] and gate and up apart.
    let isGGUF: Bool
    /// Modules under which packed tensors lie.
    let packedStems: NameSet
    let near: NearNames
    /// How the adapter's factors of packed experts lie, which its writer's version tells.
    package var expertFactors = ExpertFactors.byModule
    /// A tensor that lacks the first rows of the checkpoint's, and how many.
    package var droppedRows: (name: String, count: Int)?
    /// What the patterns of an adapter's names may mean, likelier readings in earlier lists.
    private var readings: NameTable<[[Reading]]> = [:]

    /// The base's tensors; `modelType` and `configuration` are those of `config.json`, nil where there is none.
    package init(
        _ tensors: [NamedShape], modelType: String?, configuration: JSONValue?, isGGUF: Bool = false
    ) {
        self.isGGUF = isGGUF
        shapes = NameTable(tensors.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
        var types = modelType.map { [$0] } ?? []
        for (_, value) in configuration?.objectValue?.members ?? [] {
            if let type = value["model_type"]?.stringValue, !types.contains(type) { types.append(type) }
        }
        modelTypes = types
        families = NamingTable.families.filter { !$0.modelTypes.isDisjoint(with: types) }
        prefixes = PrefixIndex(modules: tensors.lazy.map { NamePath.parent($0.name).parent }, modelType: modelType)
        embedding = Self.embedding(among: tensors)
        saysTied =
            (configuration?["tie_word_embeddings"] ?? configuration?["text_config"]?["tie_word_embeddings"])?.boolValue
        shared = SharedEmbedding(shapes, prefixes, modelType: modelType)
        let classes = configuration?["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
        let tiesWithin = configuration?.objectValue?.members.contains {
            $0.value["tie_word_embeddings"]?.boolValue == true
        }
        mayTieHead =
            (saysTied != false || tiesWithin == true)
            && (classes.isEmpty ? saysTied == true : classes.contains { !NameWords.isHeadless($0) })
        isHeaded =
            classes.isEmpty ? nil : classes.contains { name in NameWords.headedClasses.contains { name.hasSuffix($0) } }
        tiedHeadKind = isHeaded == false ? nil : TiedHeads.of(modelType)
        packedStems = ExpertProbe.packedStems(among: tensors)
        near = NearNames()
        conv1DEvidence = Conv1DModules.evidence(among: tensors, shapes: shapes)
    }

    /// The same names, with each prefix that the adapter could mean in several ways read in the one way that fits all of
    /// `matrices`, where there is exactly one; `factors` are those of the adapter.
    package func fitted(to matrices: [SizedMatrix], factors: ExpertFactors = .byModule) -> BaseNames {
        var copy = self
        copy.expertFactors = factors
        var groups: NameTable<[(pattern: String, numbers: [Substring], matrix: SizedMatrix)]> = [:]
        // Most names are those of the base as they are.
        for matrix in matrices where shapes["\(matrix.matrix.path).weight"] == nil {
            let (pattern, numbers) = NamePath.pattern(of: matrix.matrix.path)
            if copy.readings[pattern] == nil { copy.readings[pattern] = allReadings(of: pattern) }
            groups[String(NamePath.split(pattern).prefix), default: []].append((pattern, numbers, matrix))
        }
        for group in groups.values {
            let patterns = NameSet(group.map(\.pattern))
            guard let several = copy.severalMeanings(among: group) else { continue }
            let fitting = several.filter { prefix in
                group.allSatisfy { pattern, numbers, matrix in
                    (copy.readings[pattern] ?? []).joined().contains { reading in
                        reading.prefix == prefix && fits(matrix, reading, numbers)
                    }
                }
            }
            guard fitting.count == 1, let prefix = fitting.first else { continue }
            for pattern in patterns {
                copy.readings[pattern] = copy.readings[pattern]?.map { list in
                    list.contains { $0.prefix == prefix } ? list.filter { $0.prefix == prefix } : list
                }
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
        let found = try resolve(matrix.path) { path throws(NamingError) in
            try probe(sized, at: path)
        }
        if let found { return found }
        let blocks = try resolve(matrix.path) { path in PlaceProbe.blocks(of: matrix, at: path, in: self) }
        if let blocks { throw .quantized(name: matrix.path, tensor: blocks) }
        if case .linear(let path) = matrix, isHead(path), let embedding, saysTied != false {
            throw .tiedHead(name: path, embedding: embedding)
        }
        throw unknown(matrix.path)
    }

    /// The base's tensor that a key means; nil where it has none, for those who can do without.
    package func existing(_ key: String) -> String? {
        if shapes[key] != nil { return key }
        let (module, last) = NamePath.parent(key)
        let found = try? resolve(module) { (path) throws(NamingError) -> String? in
            let name = NamePath.path(path, last)
            return shapes[name] == nil ? nil : name
        }
        return (found ?? nil) ?? renamed(key)
    }

    /// The base's tensor that a key means whose last part, too, has another name in the files.
    private func renamed(_ key: String) -> String? {
        families.lazy.compactMap { $0.filesName(of: key) }.first { shapes[$0] != nil }
    }

    /// The base's tensor that a saved value takes the place of, or what it is beside them.
    package func tensor(for key: String) throws(NamingError) -> SavedPlace {
        let (module, last) = NamePath.parent(key)
        let found =
            shapes[key] != nil
            ? key
            : try resolve(module) { path throws(NamingError) in
                let name = NamePath.path(path, last)
                return shapes[name] == nil ? nil : name
            }
        if let found = found ?? renamed(key) { return .existing(found) }
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
    /// A name that a pattern of the adapter's may stand for in the base.
    private struct Reading: Sendable {
        /// The base's name, as a pattern.
        let pattern: String
        /// What stands before its first number.
        let prefix: String
    }

    /// What `probe` finds under the readings of `path`: the likeliest for which it finds anything.
    func resolve<Value: Equatable>(
        _ path: String, probe: (String) throws(NamingError) -> Value?
    ) throws(NamingError) -> Value? {
        if mayHold(path), let found = try probe(path) { return found }
        let (pattern, numbers) = NamePath.pattern(of: path)
        for list in readings[pattern] ?? allReadings(of: pattern) {
            if let found = try only(path, list, numbers, probe) { return found }
        }
        return nil
    }

    /// The one thing that is found under any of several readings; one of another shape counts where there is no other.
    private func only<Value: Equatable>(
        _ name: String, _ readings: [Reading], _ numbers: [Substring],
        _ probe: (String) throws(NamingError) -> Value?
    ) throws(NamingError) -> Value? {
        var found: [(path: String, value: Value)] = []
        var problem: NamingError?
        for reading in readings {
            guard let path = NamePath.filled(reading.pattern, numbers), mayHold(path) else { continue }
            do throws(NamingError) {
                guard let value = try probe(path) else { continue }
                if !found.contains(where: { $0.value == value }) { found.append((path, value)) }
            } catch {
                problem = problem ?? error
            }
        }
        if found.count > 1 { throw .ambiguous(name: name, candidates: found.map(\.path)) }
        if let found = found.first { return found.value }
        if let problem { throw problem }
        return nil
    }

    /// Everything that a pattern may mean: by the base's own families, and after that, for a model type of which nothing is
    /// known, by all others. These are trusted less: not beyond wrappers that mean nothing, nor in what they say of rows.
    private func allReadings(of pattern: String) -> [[Reading]] {
        let forms = [pattern] + families.flatMap { $0.otherNames(of: pattern) }
        var lists = [forms.map { Reading(pattern: $0, prefix: String(NamePath.split($0).prefix)) }]
        let moved = forms.map { form in
            let (prefix, rest) = NamePath.split(form)
            return prefixes.meanings(of: String(prefix)).map { list in
                list.map { Reading(pattern: NamePath.path($0, rest), prefix: $0) }
            }
        }
        for level in 0..<(moved.map(\.count).max() ?? 0) {
            lists.append(moved.flatMap { level < $0.count ? $0[level] : [] })
        }
        lists += borrowedReadings(of: pattern)
        var seen: NameSet = [pattern]
        return lists.map { $0.filter { seen.insert($0.pattern).inserted } }.filter { !$0.isEmpty }
    }

    /// What a pattern may mean by families of other model types.
    private func borrowedReadings(of pattern: String) -> [[Reading]] {
        let components = NamePath.components(pattern)
        guard !modelTypes.contains(where: NamingTable.knows), components.contains(where: NamingTable.words.contains)
        else {
            return []
        }
        let forms = NamingTable.families.flatMap { $0.otherNames(of: pattern) }.filter { form in
            // One half of a model does not become another by a name that a family has for it.
            NamePath.components(form).filter(NameWords.halves.contains) == components.filter(NameWords.halves.contains)
        }
        let same = forms.map { Reading(pattern: $0, prefix: String(NamePath.split($0).prefix)) }
        let moved = forms.flatMap { form in
            let (prefix, rest) = NamePath.split(form)
            return prefixes.equals(of: String(prefix)).map { Reading(pattern: NamePath.path($0, rest), prefix: $0) }
        }
        return [same, moved]
    }

    /// The prefixes of which more than one fits the first matrix of a pattern equally well; nil where each fits one.
    private func severalMeanings(
        among group: [(pattern: String, numbers: [Substring], matrix: SizedMatrix)]
    ) -> NameSet? {
        var seen: NameSet = []
        for (pattern, numbers, matrix) in group where seen.insert(pattern).inserted {
            for list in readings[pattern] ?? [] {
                let fitting = NameSet(list.filter { fits(matrix, $0, numbers) }.map(\.prefix))
                if fitting.count > 1 { return fitting }
                if fitting.count == 1 { break }
            }
        }
        return nil
    }

    /// Whether a matrix lies where a reading says.
    private func fits(_ matrix: SizedMatrix, _ reading: Reading, _ numbers: [Substring]) -> Bool {
        guard let path = NamePath.filled(reading.pattern, numbers), mayHold(path) else { return false }
        return ((try? probe(matrix, at: path)) ?? nil) != nil
    }

    /// Whether any tensor can lie at a path: those of layers need their prefix.
    private func mayHold(_ path: String) -> Bool {
        let (prefix, rest) = NamePath.split(path)
        return rest.isEmpty || prefixes.layerCounts[String(prefix)] != nil
    }

    /// The places of a matrix that lies at `path` exactly; nil where nothing of that name is there.
    private func probe(
        _ sized: SizedMatrix, at path: String
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
