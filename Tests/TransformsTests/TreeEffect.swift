import TensorCore

/// What an adapter does to a tensor, in double.
enum TreeEffect {
    /// Other numbers.
    case replaced([Float])
    /// Rows (the keys) that become others (by their places).
    case rows([Int: Int], [Float])
    /// What is added, and the sum of the sizes of the products that it was added up from.
    case added([Double], size: [Double])
    /// Lengths that rows or columns are brought to.
    case lengths([Float], ofColumns: Bool)
    /// Factors of rows or columns.
    case scaled([Float], byColumn: Bool)

    /// B A with a factor, [rows, columns].
    static func product(
        _ scale: Double, _ rows: Int, _ columns: Int, rank: Int, b: (Int, Int) -> Double, a: (Int, Int) -> Double
    ) -> TreeEffect {
        var sums: [Double] = []
        var sizes: [Double] = []
        for row in 0..<rows {
            for column in 0..<columns {
                let terms = (0..<rank).map { scale * b(row, $0) * a($0, column) }
                sums.append(terms.reduce(0, +))
                sizes.append(terms.reduce(0) { $0 + abs($1) })
            }
        }
        return .added(sums, size: sizes)
    }

    /// The same of several matrices, one behind the other.
    static func joined(_ effects: [TreeEffect]) -> TreeEffect {
        var (all, sizes): ([Double], [Double]) = ([], [])
        for case .added(let sums, let size) in effects { (all, sizes) = (all + sums, sizes + size) }
        return .added(all, size: sizes)
    }
}

/// Numbers in double, with the sizes of what they were added up from, which bound the rounding of sums in float.
struct TreeSum {
    var values: [Double]
    var sizes: [Double]
    private let width: Int

    init(_ tensor: TreeTensor) {
        values = tensor.stored
        sizes = values.map(abs)
        width = max(1, tensor.shape.dropFirst().reduce(1, *))
    }

    mutating func apply(_ effect: TreeEffect) {
        switch effect {
        case .replaced(let numbers):
            values = numbers.map(Double.init)
            sizes = values.map(abs)
        case .rows(let places, let numbers):
            for (row, place) in places {
                for column in 0..<width {
                    values[row * width + column] = Double(numbers[place * width + column])
                    sizes[row * width + column] = abs(values[row * width + column])
                }
            }
        case .added(let sums, let size):
            for index in values.indices {
                values[index] += sums[index]
                sizes[index] += size[index]
            }
        case .lengths(let lengths, let ofColumns): bring(to: lengths, ofColumns)
        case .scaled(let factors, let byColumn):
            for index in values.indices {
                let factor = Double(factors[byColumn ? index % width : index / width])
                values[index] *= factor
                sizes[index] *= abs(factor)
            }
        }
    }

    /// The rounding of a line's numbers is in its length, too.
    private mutating func bring(to lengths: [Float], _ ofColumns: Bool) {
        var squares = [Double](repeating: 0, count: lengths.count)
        var sizeSquares = squares
        func line(_ index: Int) -> Int { ofColumns ? index % width : index / width }
        for index in values.indices {
            squares[line(index)] += values[index] * values[index]
            sizeSquares[line(index)] += sizes[index] * sizes[index]
        }
        for index in values.indices {
            let (norm, size) = (squares[line(index)].squareRoot(), sizeSquares[line(index)].squareRoot())
            guard norm > 0 else { continue }
            let ratio = Double(lengths[line(index)]) / norm
            values[index] *= ratio
            sizes[index] = abs(ratio) * sizes[index] + abs(values[index]) * size / norm
        }
    }
}
