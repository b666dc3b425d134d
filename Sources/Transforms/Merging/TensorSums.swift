import Adapters
import Models
import TensorCore

/// The tensors of an output that change, gathered from updates, values and rows of all adapters.
struct TensorSums {
    /// In the order in which they came.
    private(set) var tensors: [MergePlan.Tensor] = []
    /// The place of each by its name in the output.
    private(set) var places: NameTable<Int> = [:]
    /// Tensors of the base whose values go to another, which was a copy of theirs, and this other.
    private(set) var moved: NameTable<String> = [:]
    /// Whether a head that the files hold, though it is tied to the embedding, stays as it is while the embedding changes.
    private(set) var untiesStoredHead = false

    /// Adds an update, and that of its bias; throws `TransformError.unsupported` for one of a module that `adapter` or
    /// another holds whole.
    mutating func add(
        _ update: AdapterPlacement.Update, of part: Int, changesBias: Bool, adapter: String
    ) throws {
        for (expert, matrix) in update.places.enumerated() {
            for place in matrix {
                let contribution = MergePlan.Tensor.Contribution(
                    part: part, subject: update.subject, expert: expert, place: place)
                let target = update.untiedHead ?? place.tensor
                if let other = places[target],
                    tensors[other].contributions.contains(where: {
                        $0.part == part && $0.subject != update.subject && $0.place.overlaps(place)
                    })
                {
                    throw MergePlan.refusal(
                        adapter,
                        "'\(update.name)' and another of its modules both mean tensor '\(target)'")
                }
                if let other = places[target], tensors[other].value?.isOwnCopy == true {
                    throw Self.twice(target, adapter)
                }
                add(contribution, from: place.tensor, to: target, .weight)
            }
        }
        if changesBias, let bias = update.bias, let place = update.places.first?.first {
            let contribution = MergePlan.Tensor.Contribution(
                part: part, subject: update.subject, expert: 0, place: place)
            add(contribution, from: bias, to: bias, .bias)
        }
    }

    private mutating func add(
        _ contribution: MergePlan.Tensor.Contribution, from source: String, to target: String,
        _ role: MergePlan.Tensor.Role
    ) {
        let place = place(of: target, source, role)
        if tensors[place].role == .replaced { tensors[place].role = role }
        tensors[place].contributions.append(contribution)
    }

    /// Adds values that take a tensor's place; throws `TransformError.unsupported` where two adapters have some.
    mutating func add(_ value: AdapterPlacement.Value, of adapter: String) throws {
        let place = place(of: value.target, value.source, .replaced)
        // peft writes some values under two names.
        if let own = tensors[place].value?.tensor, own.shape == value.tensor.shape, own.values == value.tensor.values {
            return
        }
        guard tensors[place].value == nil, tensors[place].rows == nil, tensors[place].integers == nil,
            tensors[place].contributions.isEmpty
        else {
            throw Self.twice(value.target, adapter)
        }
        tensors[place].value = value
    }

    /// Adds rows that take others' place; throws as for values.
    mutating func add(_ rows: AdapterPlacement.Rows, of adapter: String) throws {
        let place = place(of: rows.tensor, rows.tensor, .replaced)
        guard tensors[place].contributions.isEmpty else { throw Self.twice(rows.tensor, adapter) }
        guard let others = tensors[place].rows else {
            tensors[place].rows = rows
            return
        }
        // Parts of a tensor that holds several modules.
        guard let both = others.joined(with: rows) else { throw Self.twice(rows.tensor, adapter) }
        tensors[place].rows = both
    }

    /// Adds whole numbers that take a tensor's place; throws as for values.
    mutating func add(_ integers: AdapterPlacement.Integers, of adapter: String) throws {
        let place = place(of: integers.target, integers.target, .replaced)
        if let other = tensors[place].integers, other.tensor.content == integers.tensor.content { return }
        guard tensors[place].integers == nil, tensors[place].value == nil, tensors[place].rows == nil,
            tensors[place].contributions.isEmpty
        else { throw Self.twice(integers.target, adapter) }
        tensors[place].integers = integers
    }

    private static func twice(_ tensor: String, _ adapter: String) -> TransformError {
        let weight = CheckpointNames.weight(of: "")
        let module = tensor.hasSuffix(weight) ? String(tensor.dropLast(weight.count)) : tensor
        return MergePlan.refusal(
            adapter,
            "'\(module)' is saved whole, here or in another adapter, and one weight cannot be that and something else")
    }

    private mutating func place(of target: String, _ source: String?, _ role: MergePlan.Tensor.Role) -> Int {
        if let place = places[target] { return place }
        places[target] = tensors.count
        tensors.append(MergePlan.Tensor(source: source, target: target, role: role))
        return tensors.count - 1
    }

    /// Settles what becomes of a head that is the embedding: it keeps the embedding's old weights where the embedding
    /// has an update, or was trained as a copy of its own, and follows it where its values alone are new; a head of its
    /// own that is the embedding again stays tied.
    ///
    /// Throws `TransformError.unsupported` where a head of its own would leave the model without another tensor.
    mutating func settleTies(of base: ModelCheckpoint, _ names: BaseNames) throws {
        let copies = NameSet(names.sharedEmbedding?.copies ?? [])
        try refuseUnreadEmbedding(of: base, names)
        let own = tensors.filter { $0.source != nil && $0.source != $0.target }
        let head = own.first { !copies.contains($0.target) }
        let tie = head.map { (head: $0.target, embedding: $0.source ?? "") } ?? base.tie(names)
        try refuseUnknownTies(but: tie?.embedding, of: base, names)
        if own.contains(where: { copies.contains($0.target) }) { return try untieHalves(tie?.head, of: base, names) }
        guard let (head, embedding) = tie else { return }
        let changed = places[embedding].map { tensors[$0] }
        if let place = places[head], !own.isEmpty {
            if try isStillTied(tensors[place], changed, base) { return remove(head) }
            return try untie(head, embedding, base, names)
        }
        guard let changed, !changed.contributions.isEmpty || changed.value?.isOwnCopy == true, places[head] == nil
        else {
            return
        }
        guard changed.value.map({ $0.tensor.shape == base.shape(of: embedding) }) ?? true else {
            throw MergePlan.refusal(
                head,
                "the embedding has other tokens than the base, and the adapter lacks the rows of the output head, "
                    + "which was tied to it")
        }
        try untie(head, embedding, base, names)
        untiesStoredHead = base.record(of: head) != nil
        guard !untiesStoredHead else { return }
        addCopy(head, of: embedding)
    }

    private mutating func addCopy(_ name: String, of original: String) {
        places[name] = tensors.count
        tensors.append(MergePlan.Tensor(source: original, target: name, role: .copied))
    }

    /// Gives each half of a model, and its head, the embedding that they shared, as one of them has its own now.
    ///
    /// Throws `TransformError.unsupported` where one has other tokens: what they shared would keep the old ones.
    private mutating func untieHalves(_ head: String?, of base: ModelCheckpoint, _ names: BaseNames) throws {
        guard let (original, copies) = names.sharedEmbedding else { return }
        let shape = base.shape(of: original)
        for tensor in tensors
        where copies.contains(tensor.target) && tensor.value.map({ $0.tensor.shape != shape }) ?? false {
            throw MergePlan.refusal(tensor.target, "it has other tokens than '\(original)', which it is in the base")
        }
        for name in copies + [head].compactMap({ $0 }) where base.record(of: name) == nil && places[name] == nil {
            addCopy(name, of: original)
        }
    }

    /// Throws `TransformError.unsupported` for an update of an embedding that the halves of a model read under names of
    /// their own: the model computes nothing with it while it is trained, and all of them would change by the merge.
    private func refuseUnreadEmbedding(of base: ModelCheckpoint, _ names: BaseNames) throws {
        guard base.architecture == nil, let (original, copies) = names.sharedEmbedding,
            let changed = places[original].map({ tensors[$0] }),
            !changed.contributions.isEmpty || changed.value?.isOwnCopy == true
        else { return }
        throw TransformError.unsupported(
            path: base.checkpoint.path,
            reason: "the model reads '\(original)' as '\(copies[0])'"
                + (copies.count > 1 ? " and '\(copies[1])'" : "")
                + ", so that the adapter's update of it had no part in what was trained, and its merge would change them all"
        )
    }

    /// Throws `TransformError.unsupported` for an embedding that changes by itself, and may be an output head as well by a
    /// tie that is not known.
    private func refuseUnknownTies(but known: String?, of base: ModelCheckpoint, _ names: BaseNames) throws {
        guard base.architecture == nil, base.checkpoint.layout != .gguf else { return }
        for tensor in tensors where !tensor.contributions.isEmpty || tensor.value?.isOwnCopy == true {
            guard tensor.source == tensor.target, tensor.target != known, names.mayBeHead(tensor.target) else {
                continue
            }
            throw TransformError.unsupported(
                path: base.checkpoint.path,
                reason: "what else is tied to '\(tensor.target)' is not known of this model, and would change with it")
        }
    }

    /// Gives what was tied together with the head tensors of its own: a bias as it is in the output, the embeddings of a
    /// model's halves as the base has them. Throws `TransformError.unsupported` where it is not known what that is, or
    /// the embedding that the halves read changes too: which of the three is meant is not known then.
    private mutating func untie(
        _ head: String, _ embedding: String, _ base: ModelCheckpoint, _ names: BaseNames
    ) throws {
        guard base.architecture == nil, let copies = names.copiesTied(with: head) else {
            return try base.checkUntying(head: head, embedding: embedding)
        }
        for (name, original) in copies where base.record(of: name) == nil && places[name] == nil {
            var copy = MergePlan.Tensor(source: original, target: name, role: .copied)
            if let place = places[original] {
                guard original != embedding, let value = tensors[place].value, tensors[place].contributions.isEmpty
                else {
                    throw base.untyingRefusal(
                        embedding, "encoder and decoder read it too, and which of them the update is of is not known")
                }
                copy.role = .replaced
                copy.value = AdapterPlacement.Value(
                    tensor: value.tensor, source: original, target: name, isOwnCopy: value.isOwnCopy)
            }
            places[name] = tensors.count
            tensors.append(copy)
            // By the copy's own name: what it was a copy of is not what was trained, and nothing reads it any more.
            if let value = copy.value, value.tensor.name.hasSuffix(Self.lastParts(of: name)) {
                moved[original] = name
                remove(original)
            }
        }
    }

    /// A dot and the last two parts of a name, by which an adapter with any prefix has it too.
    private static func lastParts(of name: String) -> String {
        "." + name.split(separator: ".").suffix(2).joined(separator: ".")
    }

    /// Whether a head that an adapter holds is what the embedding is in the output, so that the two stay one.
    private func isStillTied(
        _ head: MergePlan.Tensor, _ embedding: MergePlan.Tensor?, _ base: ModelCheckpoint
    ) throws -> Bool {
        guard let own = head.value, head.contributions.isEmpty, embedding?.contributions.isEmpty ?? true,
            embedding?.rows == nil
        else { return false }
        if let value = embedding?.value {
            return value.tensor.shape == own.tensor.shape && value.tensor.values == own.tensor.values
        }
        return try head.source.map { try base.holdsExactly(own.tensor, in: $0) } ?? false
    }

    private mutating func remove(_ target: String) {
        guard let place = places.removeValue(forKey: target) else { return }
        tensors.remove(at: place)
        for (name, other) in places where other > place { places[name] = other - 1 }
    }
}

extension AdapterPlacement.Rows {
    /// These rows and others of the same tensor; nil where some are the same.
    fileprivate func joined(with other: AdapterPlacement.Rows) -> AdapterPlacement.Rows? {
        let tokens = rows.tokens + other.rows.tokens
        guard Set(tokens).count == tokens.count, rows.values.shape.dropFirst() == other.rows.values.shape.dropFirst()
        else { return nil }
        let values = AdapterTensor(
            name: rows.values.name, shape: [tokens.count] + rows.values.shape.dropFirst(),
            values: rows.values.values + other.rows.values.values)
        return AdapterPlacement.Rows(
            tensor: tensor, rows: AdapterExtras.TokenRows(path: rows.path, tokens: tokens, values: values))
    }
}

extension ModelCheckpoint {
    /// The output head that is the embedding, and the embedding: of a known graph, of files that hold both, and of models
    /// whose class has a head.
    fileprivate func tie(_ names: BaseNames) -> (head: String, embedding: String)? {
        if let head = specifications.outputHead, let embedding = head.tiedTo,
            architecture != nil || record(of: head.name) != nil
        {
            return (head.name, embedding)
        }
        return names.tiedHead
    }

    /// Why a head stays the embedding.
    fileprivate func untyingRefusal(_ embedding: String, _ reason: String) -> TransformError {
        .unsupported(
            path: checkpoint.path, reason: "the output head cannot be untied from '\(embedding)': \(reason)")
    }

    /// Types whose encoder and decoder read the embedding by its one name.
    private static let sharing: NameSet = [
        "t5", "mt5", "umt5", "longt5", "switch_transformers", "udop", "pop2piano",
    ]
    private static let bias = CheckpointNames.bias(of: "")
    /// What the last part of the path of a head is that has no bias and no other name.
    private static let plainHeads = ["lm_head", "embed_out", "output"]

    /// Throws `TransformError.unsupported` where `tie_word_embeddings: false` would untie more than head and embedding:
    /// the halves of an encoder and decoder, a head's bias; or where what the model calls its head is not known.
    fileprivate func checkUntying(head: String, embedding: String) throws {
        if architecture != nil { return }
        let configuration = checkpoint.configuration
        let classes = configuration?["architectures"]?.arrayValue?.compactMap(\.stringValue) ?? []
        let type = configuration?["model_type"]?.stringValue ?? ""
        let module = head.split(separator: ".").dropLast().last.map(String.init) ?? ""
        func refusal(_ reason: String) -> TransformError { untyingRefusal(embedding, reason) }
        if embedding.hasSuffix("shared.weight"), !Self.sharing.contains(type) {
            throw refusal("encoder and decoder of a '\(type)' would lose the embedding that they share")
        }
        let isMasked = classes.contains { $0.hasSuffix("ForMaskedLM") || $0.hasSuffix("ForPreTraining") }
        // The bias of a head whose weight is tied, and which is not called as this one.
        let count = shape(of: embedding)?.first
        let bias = tensorNames.first { name in
            guard name.hasSuffix(Self.bias), shape(of: name) == [count ?? -1] else { return false }
            let owner = String(name.dropLast(Self.bias.count))
            return record(of: CheckpointNames.weight(of: owner)) == nil && CheckpointNames.weight(of: owner) != head
        }
        guard !isMasked, bias == nil, Self.plainHeads.contains(module) else {
            throw refusal("what else a '\(type)' ties with it is not known")
        }
    }
}
