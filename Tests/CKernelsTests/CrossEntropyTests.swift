import CKernels
import Foundation
import Testing

@Suite struct CrossEntropyTests {
    /// Losses and gradients in double; a negative target gives zeros.
    private func reference(_ logits: [Float], _ targets: [Int32], scale: Double) -> (losses: [Double], d: [Double]) {
        let width = logits.count / targets.count
        var losses: [Double] = [], gradients: [Double] = []
        for (row, target) in targets.enumerated() {
            guard target >= 0 else {
                losses.append(0)
                gradients += [Double](repeating: 0, count: width)
                continue
            }
            let x = logits[row * width..<(row + 1) * width].map(Double.init)
            let largest = x.max() ?? 0
            let sum = x.reduce(0) { $0 + exp($1 - largest) }
            losses.append(log(sum) + largest - x[Int(target)])
            gradients += x.enumerated().map {
                ($1 == $1 ? exp($1 - largest) / sum : 0) * scale - ($0 == target ? scale : 0)
            }
        }
        return (losses, gradients)
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func lossesAndGradientsAreThoseOfTheSoftmax(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 21)
        for width in oddSizes.filter({ $0 > 0 }) + [5003] {
            let targets: [Int32] = [0, -1, Int32(width - 1), Int32(width / 2)]
            let logits = Buffer(numbers.floats(4 * width, 30)), losses = Buffer(count: 4)
            let gradient = Buffer(numbers.floats(4 * width), element)
            level.kernels.cross_entropy(
                logits.floatPointer, targets, 0.25, gradient.pointer, element.rawValue, losses.floatPointer, 4, width)
            let expected = reference(logits.values, targets, scale: 0.25)
            #expect(agree(losses.values, expected.losses, tolerance: 1e-6))
            // p - 1 may lose digits; so errors are relative to the row's scale.
            #expect(agree(gradient.values, expected.d, tolerance: element.rounding + 5e-7, floor: 0.25))
            let without = Buffer(count: 4)
            level.kernels.cross_entropy(
                logits.floatPointer, targets, 0.25, nil, element.rawValue, without.floatPointer, 4, width)
            #expect(without.values == losses.values)
        }
    }

    @Test(arguments: KernelLevel.all)
    func floatGradientsMayReplaceTheLogits(level: KernelLevel) {
        var numbers = Numbers(seed: 22)
        let targets: [Int32] = [7, -1, 576], logits = Buffer(numbers.floats(3 * 577, 10))
        let losses = Buffer(count: 3), apart = Buffer(count: 3 * 577), inPlaceLosses = Buffer(count: 3)
        level.kernels.cross_entropy(
            logits.floatPointer, targets, 1, apart.pointer, Element.f32.rawValue, losses.floatPointer, 3, 577)
        level.kernels.cross_entropy(
            logits.floatPointer, targets, 1, logits.pointer, Element.f32.rawValue, inPlaceLosses.floatPointer, 3, 577)
        #expect(logits.values == apart.values)
        #expect(inPlaceLosses.values == losses.values)
    }

    @Test(arguments: KernelLevel.all)
    func hugeLogitsDoNotOverflowAndNaNShows(level: KernelLevel) {
        let logits = Buffer([1e30, -1e30, 0, 1e30, 500, 500, .nan, 500, 0, -.infinity, 1, 2])
        let losses = Buffer(count: 3), gradient = Buffer(count: 12)
        level.kernels.cross_entropy(
            logits.floatPointer, [0, 1, 3], 1, gradient.pointer, Element.f32.rawValue, losses.floatPointer, 3, 4)
        let (loss, d) = (losses.values, gradient.values)
        #expect(abs(loss[0] - Float(log(2.0))) < 1e-6 && d[1] == 0 && abs(d[0] + 0.5) < 1e-6)
        #expect(loss[1].isNaN && d[4].isNaN)
        #expect(loss[2].isFinite && d[9] == 0)
    }
}
