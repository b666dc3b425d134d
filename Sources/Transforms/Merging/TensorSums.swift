import Adapters
import Models

/// The tensors of an output that change, gathered from updates, values and rows of all adapters.
struct TensorSums {
    /// In the order in which they came.
    private(set) var tensors: [MergePlan.Tensor] = []
    /// The place of each by its name in the output.
    private(set) var places: [String: Int] = [:]
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
        guard tensors[place].value == nil, tensors[place].rows == nil, tensors[place].contributions.isEmpty else {
            throw Self.twice(value.target, adapter)
        }
        tensors[place].value = value
    }

    /// Adds rows that take others' place; throws as for values.
    mutating func add(_ rows: AdapterPlacement.Rows, of adapter: String) throws {
        let place = place(of: rows.tensor, rows.tensor, .replaced)
        guard tensors[place].rows == nil, tensors[place].contributions.isEmpty else {
            throw Self.twice(rows.tensor, adapter)
        }
        tensors[place].rows = rows
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
    /// own that is the new embedding again stays tied.
    mutating func settleTies(of base: ModelCheckpoint) throws {
        guard let (head, embedding) = base.tie, let changed = places[embedding] else { return }
        let tensor = tensors[changed]
        if let place = places[head] {
            guard let own = tensors[place].value, tensors[place].contributions.isEmpty, tensor.contributions.isEmpty,
                let value = tensor.value, tensor.rows == nil, value.tensor.shape == own.tensor.shape,
                value.tensor.values == own.tensor.values
            else { return }
            remove(head)
        } else if !tensor.contributions.isEmpty || tensor.value?.isOwnCopy == true {
            guard tensor.value.map({ $0.tensor.shape == base.shape(of: embedding) }) ?? true else {
                throw MergePlan.refusal(
                    head,
                    "the embedding has other tokens than the base, and the adapter lacks the rows of the output head, "
                        + "which was tied to it")
            }
            untiesStoredHead = base.record(of: head) != nil
            guard !untiesStoredHead else { return }
            places[head] = tensors.count
            tensors.append(MergePlan.Tensor(source: embedding, target: head, role: .copied))
        }
    }

    private mutating func remove(_ target: String) {
        guard let place = places.removeValue(forKey: target) else { return }
        tensors.remove(at: place)
        for (name, other) in places where other > place { places[name] = other - 1 }
    }
}

extension ModelCheckpoint {
    /// The output head that is the embedding, and the embedding.
    fileprivate var tie: (head: String, embedding: String)? {
        if let tied = names.tiedHead { return tied }
        return specifications.outputHead.flatMap { head in head.tiedTo.map { (head.name, $0) } }
    }
}
