import CKernels
import Foundation
import Testing

/// The passes that weigh columns, and the functions of narrow layers.
@Suite struct ColumnTests {
    private static let rows = 3

    /// Rounding of the element type once, of F32 sums of `terms` products of numbers up to 1.
    private func tolerance(_ element: Element, terms: Int = 1) -> Double {
        element.rounding * 1.01 + 0x1p-23 * Double(terms + 2)
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func scaledColumnsAreAdded(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 21)
        for width in oddSizes {
            let target = Buffer(numbers.floats(Self.rows * width), element)
            let source = Buffer(numbers.floats(Self.rows * width), element), factors = Buffer(numbers.floats(width))
            let (before, added, factor) = (target.values, source.values, factors.values)
            level.kernels.add_scaled_columns(
                target.pointer, source.pointer, factors.floatPointer, element.rawValue, Self.rows, width)
            let expected = before.indices.map {
                Double(before[$0]) + Double(factor[$0 % width]) * Double(added[$0])
            }
            #expect(agree(target.values, expected, tolerance: tolerance(element)), "width \(width)")
        }
    }

    /// With one tensor as source and target, as columns are scaled in place.
    @Test(arguments: KernelLevel.all, Element.activations)
    func columnsAreScaledInPlace(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 22)
        for width in oddSizes {
            let x = Buffer(numbers.floats(Self.rows * width), element), excess = Buffer(numbers.floats(width))
            let before = x.values
            level.kernels.add_scaled_columns(
                x.pointer, x.pointer, excess.floatPointer, element.rawValue, Self.rows, width)
            let expected = before.indices.map { Double(before[$0]) * (1 + Double(excess.values[$0 % width])) }
            #expect(agree(x.values, expected, tolerance: tolerance(element)), "width \(width)")
        }
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func rowDotsAreWeighted(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 23)
        for width in oddSizes {
            let a = Buffer(numbers.floats(Self.rows * width), element)
            let b = Buffer(numbers.floats(Self.rows * width), element), weights = Buffer(numbers.floats(width))
            let dots = Buffer(count: Self.rows)
            level.kernels.weighted_row_dots(
                a.pointer, b.pointer, weights.floatPointer, element.rawValue, dots.floatPointer, Self.rows, width)
            let (left, right, weight) = (a.values, b.values, weights.values)
            let expected = (0..<Self.rows).map { row in
                (0..<width).reduce(0.0) { sum, column in
                    let index = row * width + column
                    return sum + Double(weight[column]) * Double(left[index]) * Double(right[index])
                }
            }
            #expect(agree(dots.values, expected, tolerance: tolerance(.f32, terms: width)), "width \(width)")
        }
    }

    /// Each thread makes a range of the columns; the others stay as they were.
    @Test(arguments: KernelLevel.all, Element.activations)
    func columnDotsFillTheirRange(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 24)
        for width in oddSizes {
            let a = Buffer(numbers.floats(Self.rows * width), element)
            let b = Buffer(numbers.floats(Self.rows * width), element)
            let (left, right) = (a.values, b.values)
            for range in [0..<width, width / 3..<width, 0..<width / 2, width / 2..<width / 2] {
                let sums = Buffer([Float](repeating: 7, count: width))
                level.kernels.column_dots(
                    a.pointer, b.pointer, element.rawValue, sums.floatPointer, Self.rows, width, range.lowerBound,
                    range.upperBound)
                let expected = (0..<width).map { column -> Double in
                    guard range.contains(column) else { return 7 }
                    return (0..<Self.rows).reduce(0.0) {
                        $0 + Double(left[$1 * width + column]) * Double(right[$1 * width + column])
                    }
                }
                #expect(
                    agree(sums.values, expected, tolerance: tolerance(.f32, terms: Self.rows)), "\(range) of \(width)")
            }
        }
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func rowOfValuesIsAddedToEachRow(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 25)
        for width in oddSizes {
            for factor in [Float(1), -1, 0.3] {
                let x = Buffer(numbers.floats(Self.rows * width), element), values = Buffer(numbers.floats(width))
                let before = x.values
                level.kernels.add_to_rows(
                    x.pointer, element.rawValue, values.floatPointer, factor, Self.rows, width)
                let expected = before.indices.map {
                    Double(before[$0]) + Double(factor) * Double(values.values[$0 % width])
                }
                #expect(agree(x.values, expected, tolerance: tolerance(element)), "width \(width)")
            }
        }
    }

    /// A function of the narrow layer in double precision.
    private static let functions: [(kind: Int32, value: @Sendable (Double) -> Double)] = [
        (Int32(TSPEFT_TANH), { tanh($0) }), (Int32(TSPEFT_RELU), { max($0, 0) }),
        (Int32(TSPEFT_GELU), { 0.5 * $0 * erfc(-$0 / 2.0.squareRoot()) }),
        (Int32(TSPEFT_SILU), { $0 / (1 + exp(-$0)) }),
    ]

    @Test(arguments: functions.indices) func activationHasItsValueAndSlope(_ index: Int) {
        let (kind, value) = Self.functions[index]
        var numbers = Numbers(seed: 26)
        for size in oddSizes {
            let x = Buffer(numbers.floats(size, 6)), out = Buffer(count: size)
            tspeft_activate(kind, x.floatPointer, out.floatPointer, size)
            // A few units of single precision; near 0 the functions lose what 1 + exp or 1 + erf rounds away.
            #expect(agree(out.values, x.values.map { value(Double($0)) }, tolerance: 5e-7), "size \(size)")
            let gradient = Buffer(numbers.floats(size, 2)), dx = Buffer(count: size)
            tspeft_activate_backward(kind, x.floatPointer, gradient.floatPointer, dx.floatPointer, size)
            let h = 1e-6
            let expected = zip(x.values, gradient.values).map { x, gradient in
                Double(gradient) * (value(Double(x) + h) - value(Double(x) - h)) / (2 * h)
            }
            #expect(agree(dx.values, expected, tolerance: 1e-6), "size \(size)")
        }
    }

    @Test(arguments: functions.indices) func activationIsRightAtItsEndsAndKeepsNaN(_ index: Int) {
        let kind = Self.functions[index].kind
        let isTanh = kind == Int32(TSPEFT_TANH)
        #expect(tspeft_activation(kind, 1e4) == (isTanh ? 1 : 1e4))
        #expect(tspeft_activation(kind, -1e4) == (isTanh ? -1 : 0))
        #expect(tspeft_activation(kind, 0) == 0)
        #expect(tspeft_activation(kind, .nan).isNaN)
        #expect(tspeft_activation_slope(kind, 1e4) == (isTanh ? 0 : 1))
        #expect(tspeft_activation_slope(kind, -1e4) == 0)
    }
}
